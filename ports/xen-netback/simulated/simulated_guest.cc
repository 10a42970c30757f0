// SPDX-License-Identifier: BSD-3-Clause
// What a guest asks the simulator for, and what it does without.
#include "ports/xen-netback/simulated/simulated_guest.hh"

#include <cstring>

namespace strait::xen::simulated {

using wire::request;
using wire::writer;

result<std::unique_ptr<simulated_guest>>
simulated_guest::connect(const std::string& socket, domain_id own, memory_layout layout)
{
    auto c = client::connect(socket, {own, true, layout});
    if (c.has_error()) {
        return c.error();
    }
    auto memory = (*c)->memory(own);
    if (memory.has_error()) {
        return memory.error();
    }
    return std::unique_ptr<simulated_guest>{
        new simulated_guest{std::move(c).value(), std::move(memory).value()}};
}

std::uint32_t simulated_guest::frame_of(const std::byte* page) const noexcept
{
    return static_cast<std::uint32_t>(static_cast<std::size_t>(page - memory_.own_page(0)) /
                                      page_size);
}

result<std::byte*> simulated_guest::allocate(std::uint32_t count)
{
    writer w;
    w.add(request::allocate_pages).add(count);
    auto a = client_->ask(w);
    if (a.code != 0) {
        return error{a.why};
    }
    std::byte* const at = memory_.own_page(a.fields.number<std::uint32_t>());
    std::memset(at, 0, count * page_size);
    return at;
}

void simulated_guest::free(std::byte* pages, std::uint32_t count)
{
    writer w;
    w.add(request::free_pages).add(frame_of(pages)).add(count);
    (void)client_->ask(w);
}

std::optional<grant_ref> simulated_guest::reserve()
{
    if (free_grants_.empty()) {
        // The table may have fewer left than a whole portion.
        for (std::uint32_t count = 256; count != 0 && free_grants_.empty(); count /= 2) {
            writer w;
            w.add(request::allocate_grants).add(count);
            auto a = client_->ask(w);
            if (a.code != 0) {
                continue;
            }
            const auto first = a.fields.number<std::uint32_t>();
            for (std::uint32_t i = count; i > 0; --i) {
                free_grants_.push_back(first + i - 1);
            }
        }
        if (free_grants_.empty()) {
            return std::nullopt;
        }
    }
    const grant_ref r{free_grants_.back()};
    free_grants_.pop_back();
    return r;
}

void simulated_guest::regrant(grant_ref r, domain_id to, const std::byte* page,
                              bool only_read) noexcept
{
    memory_.grant(number(r), to, frame_of(page), only_read);
}

std::optional<grant_ref> simulated_guest::grant(domain_id to, const std::byte* page, bool only_read)
{
    const auto r = reserve();
    if (r) {
        regrant(*r, to, page, only_read);
    }
    return r;
}

bool simulated_guest::revoke(grant_ref r)
{
    if (!end(r)) {
        return false;
    }
    unreserve(r);
    return true;
}

result<simulated_guest::offered> simulated_guest::offer(domain_id to)
{
    writer w;
    w.add(request::offer).add(to);
    auto a = client_->ask(w);
    if (a.code != 0) {
        return error{a.why};
    }
    const auto port = a.fields.number<event_port>();
    writer goodbye;
    goodbye.add(request::close).add(port);
    return offered{port, std::make_unique<channel_end>(client_, std::move(a.descriptors[0]),
                                                       std::move(a.descriptors[1]),
                                                       std::move(goodbye), nullptr)};
}

} // namespace strait::xen::simulated
