// SPDX-License-Identifier: BSD-3-Clause
// Asking the server.
#include "ports/xen-netback/simulated/client.hh"

#include "ports/unix_socket.hh"

#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

namespace strait::xen::simulated {

using wire::request;
using wire::writer;

namespace {

writer of(request kind, transaction t, const std::string& path)
{
    writer w;
    w.add(kind).add(t).add(std::string_view{path});
    return w;
}

bool absent(const client::answer& a)
{
    return a.code == ENOENT || a.code == EACCES;
}

error refused(const client::answer& a, const char* what, const std::string& path)
{
    return {"the store's " + path + " cannot be " + what + ": " + a.why};
}

} // namespace

result<std::shared_ptr<client>> client::connect(const std::string& socket, identity who)
{
    const auto failed = [&socket](const std::string& why) {
        return error{"the Xen simulator at " + socket + " cannot be reached: " + why};
    };
    if (socket.empty() || socket.size() > ports::max_socket_path) {
        return failed("a socket's path has 1 to " + std::to_string(ports::max_socket_path) +
                      " bytes");
    }
    file_descriptor fd{::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0)};
    const sockaddr_un address = ports::socket_address(socket);
    constexpr timeval patience{30, 0};
    (void)::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (!fd ||
        ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        return failed(std::strerror(errno));
    }
    std::shared_ptr<client> c{new client{std::move(fd), who.domain}};
    writer hello;
    hello.add(request::hello).add(wire::version).add(who.domain).add(who.create);
    hello.add(who.layout.grants).add(who.layout.pages);
    auto a = c->ask(hello);
    if (a.code != 0) {
        return failed(a.why);
    }
    auto f = parse_faults(a.fields.text());
    if (!a.descriptors[0] || f.has_error()) {
        return failed("it speaks another language");
    }
    c->events_ = std::move(a.descriptors[0]);
    c->faults_ = std::move(f).value();
    return c;
}

client::answer client::ask(const writer& request)
{
    answer a;
    const std::lock_guard lock{mutex_};
    int code = broken_ ? ENOTCONN : wire::send(socket_.get(), request.bytes(), {}, false);
    if (code == EMSGSIZE || request.bytes().size() > wire::longest) {
        a.code = E2BIG;
        a.why = "the request is too long for a message";
        return a;
    }
    if (code == 0) {
        code = wire::receive(socket_.get(), a.message, a.descriptors, false);
        if (code == 0 && a.message.empty()) {
            code = ECONNRESET;
        }
    }
    if (code == 0) {
        a.fields = wire::reader{a.message};
        a.code = static_cast<int>(a.fields.number<std::uint32_t>());
        a.why = a.fields.text();
        code = a.fields.ok() ? 0 : EPROTO;
    }
    if (code != 0) {
        broken_ = true; // an answer that came late would be taken for another's
        a.code = code == EAGAIN ? ETIMEDOUT : code;
        a.why = std::string{"the Xen simulator does not answer: "} + std::strerror(a.code);
    }
    return a;
}

result<void> client::tell(const writer& request)
{
    const auto a = ask(request);
    return a.code == 0 ? result<void>{} : result<void>{error{a.why}};
}

result<domain_memory> client::memory(domain_id d)
{
    writer w;
    w.add(request::memory).add(d);
    auto a = ask(w);
    if (a.code != 0) {
        return error{a.why};
    }
    memory_layout layout;
    layout.grants = a.fields.number<std::uint32_t>();
    layout.pages = a.fields.number<std::uint32_t>();
    return domain_memory::map(std::move(a.descriptors[0]), layout);
}

void client::on_faults(std::function<void(const faults&)> hear)
{
    hear_ = std::move(hear);
    hear_(faults_);
}

std::optional<watch_event> client::next_event()
{
    for (;;) {
        std::vector<std::byte> message;
        std::array<file_descriptor, wire::most_descriptors> unwanted;
        const int code = wire::receive(events_.get(), message, unwanted, true);
        if (code == EAGAIN) {
            return std::nullopt;
        }
        if (code != 0 || message.empty()) {
            // The server is gone: who waits for the descriptor shall not be woken for ever.
            const file_descriptor silent{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
            (void)::dup3(silent.get(), events_.get(), O_CLOEXEC);
            return std::nullopt;
        }
        wire::reader in{message};
        const auto kind = in.number<wire::event>();
        if (kind == wire::event::watch) {
            watch_event e;
            e.path = in.text();
            e.token = in.text();
            return e;
        }
        auto f = parse_faults(in.text());
        if (f.has_value()) {
            faults_ = std::move(f).value();
            if (hear_) {
                hear_(faults_);
            }
        }
    }
}

result<std::optional<std::string>> simulated_store::read(const std::string& path, transaction t)
{
    auto a = client_->ask(of(request::read, t, path));
    if (absent(a)) {
        return std::optional<std::string>{};
    }
    if (a.code != 0) {
        return refused(a, "read", path);
    }
    return std::optional{a.fields.text()};
}

result<std::optional<std::vector<std::string>>> simulated_store::list(const std::string& path,
                                                                      transaction t)
{
    auto a = client_->ask(of(request::list, t, path));
    if (absent(a)) {
        return std::optional<std::vector<std::string>>{};
    }
    if (a.code != 0) {
        return refused(a, "listed", path);
    }
    std::vector<std::string> names;
    for (auto n = a.fields.number<std::uint32_t>(); n > 0 && a.fields.ok(); --n) {
        names.push_back(a.fields.text());
    }
    return std::optional{std::move(names)};
}

result<void> simulated_store::write(const std::string& path, std::string_view value, transaction t)
{
    auto w = of(request::write, t, path);
    w.add(value);
    const auto a = client_->ask(w);
    return a.code == 0 ? result<void>{} : result<void>{refused(a, "written", path)};
}

result<void> simulated_store::remove(const std::string& path, transaction t)
{
    const auto a = client_->ask(of(request::remove, t, path));
    return a.code == 0 || a.code == ENOENT ? result<void>{}
                                           : result<void>{refused(a, "removed", path)};
}

result<void> simulated_store::make_folder(const std::string& path, transaction t)
{
    const auto a = client_->ask(of(request::make_folder, t, path));
    return a.code == 0 ? result<void>{} : result<void>{refused(a, "made", path)};
}

result<permissions> simulated_store::get_permissions(const std::string& path, transaction t)
{
    auto a = client_->ask(of(request::get_permissions, t, path));
    if (a.code != 0) {
        return refused(a, "asked for its permissions", path);
    }
    permissions list;
    for (auto n = a.fields.number<std::uint32_t>(); n > 0 && a.fields.ok(); --n) {
        permission p;
        p.domain = a.fields.number<domain_id>();
        p.allowed = a.fields.number<access>();
        list.push_back(p);
    }
    return list;
}

result<void> simulated_store::set_permissions(const std::string& path, const permissions& list,
                                              transaction t)
{
    auto w = of(request::set_permissions, t, path);
    w.add(static_cast<std::uint32_t>(list.size()));
    for (const auto& p : list) {
        w.add(p.domain).add(p.allowed);
    }
    const auto a = client_->ask(w);
    return a.code == 0 ? result<void>{} : result<void>{refused(a, "given permissions", path)};
}

result<transaction> simulated_store::begin()
{
    writer w;
    w.add(request::begin);
    auto a = client_->ask(w);
    if (a.code != 0) {
        return error{"no transaction of the store can begin: " + a.why};
    }
    return a.fields.number<transaction>();
}

result<bool> simulated_store::commit(transaction t)
{
    writer w;
    w.add(request::commit).add(t);
    const auto a = client_->ask(w);
    if (a.code != 0 && a.code != EAGAIN) {
        return error{"the store's transaction cannot be committed: " + a.why};
    }
    return a.code == 0;
}

void simulated_store::abandon(transaction t) noexcept
{
    writer w;
    w.add(request::abandon).add(t);
    (void)client_->ask(w);
}

result<void> simulated_store::watch(const std::string& path, const std::string& token)
{
    writer w;
    w.add(request::watch).add(std::string_view{path}).add(std::string_view{token});
    const auto a = client_->ask(w);
    return a.code == 0 ? result<void>{} : result<void>{refused(a, "watched", path)};
}

void simulated_store::unwatch(const std::string& path, const std::string& token) noexcept
{
    writer w;
    w.add(request::unwatch).add(std::string_view{path}).add(std::string_view{token});
    (void)client_->ask(w);
}

channel_end::~channel_end()
{
    (void)client_->ask(goodbye_);
}

void channel_end::notify() noexcept
{
    constexpr std::uint64_t one = 1;
    (void)!::write(theirs_.get(), &one, sizeof one);
    if (sent_ != nullptr) {
        sent_->fetch_add(1, std::memory_order_relaxed);
    }
}

bool channel_end::take() noexcept
{
    std::uint64_t count = 0;
    return ::read(ours_.get(), &count, sizeof count) == sizeof count;
}

} // namespace strait::xen::simulated
