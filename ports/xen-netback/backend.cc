// SPDX-License-Identifier: BSD-3-Clause
// The loop of the backend's thread. Changes of one vif are looked at together, however many they
// were; after each look a vif waits for a multiple of the time that it took.
#include "ports/xen-netback/backend.hh"

#include "ports/number.hh"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <future>
#include <optional>
#include <string_view>

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace strait::xen {

namespace {

const std::string all_vifs = "backend/vif";
const std::string all_token = "backend";

// "backend/vif/3/0/state", or the same below /local/domain/0; nothing for shorter paths.
std::optional<vif_id> vif_of_path(std::string_view path)
{
    const auto at = path.find(all_vifs + "/");
    if (at == std::string_view::npos) {
        return std::nullopt;
    }
    path.remove_prefix(at + all_vifs.size() + 1);
    const auto slash = path.find('/');
    if (slash == std::string_view::npos) {
        return std::nullopt;
    }
    const auto domain = to_number<std::uint16_t>(path.substr(0, slash));
    path.remove_prefix(slash + 1);
    const auto handle = to_number<std::uint32_t>(path.substr(0, path.find('/')));
    if (!domain || !handle) {
        return std::nullopt;
    }
    return vif_id{domain_id{*domain}, *handle};
}

// "vif3.0", the token of a frontend's watch.
std::optional<vif_id> vif_of_token(std::string_view token)
{
    constexpr std::string_view prefix = "vif";
    const auto dot = token.find('.');
    if (!token.starts_with(prefix) || dot == std::string_view::npos) {
        return std::nullopt;
    }
    const auto domain = to_number<std::uint16_t>(token.substr(prefix.size(), dot - prefix.size()));
    const auto handle = to_number<std::uint32_t>(token.substr(dot + 1));
    if (!domain || !handle) {
        return std::nullopt;
    }
    return vif_id{domain_id{*domain}, *handle};
}

std::string to_digit(xenbus_state s)
{
    return std::to_string(static_cast<unsigned>(s));
}

} // namespace

result<std::unique_ptr<backend>> backend::open(std::unique_ptr<hypervisor> h)
{
    if (auto watched = h->store().watch(all_vifs, all_token); watched.has_error()) {
        return watched.error();
    }
    const int wake = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake < 0) {
        return ports::error{"no eventfd can be had: " + std::string{std::strerror(errno)}};
    }
    return std::unique_ptr<backend>{new backend{std::move(h), wake}};
}

backend::backend(std::unique_ptr<hypervisor> h, int wake)
    : hypervisor_{std::move(h)}, wake_{wake}, thread_{[this] { run(); }}
{
    (void)::pthread_setname_np(thread_.native_handle(), "strait-xen");
}

backend::~backend()
{
    call([this] { stop_ = true; });
    thread_.join();
    ::close(wake_);
}

// Runs it on the backend's thread and waits for it.
void backend::call(const std::function<void()>& what)
{
    std::promise<void> done;
    {
        const std::scoped_lock lock{mutex_};
        calls_.emplace_back([&] {
            what();
            done.set_value();
        });
    }
    constexpr std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(wake_, &one, sizeof one);
    done.get_future().wait();
}

void backend::add(vif& v)
{
    call([&] { served_.insert_or_assign(v.id(), served{&v, true, {}}); });
}

void backend::remove(vif& v)
{
    call([&] {
        served_.erase(v.id());
        v.detach();
    });
}

void backend::retire(vif& v)
{
    call([&] { v.retire(); });
}

void backend::listen(listener on_change)
{
    call([&] {
        listener_ = std::move(on_change);
        found_.clear();
        vifs_changed_ = true;
        if (listener_) {
            listener_(found_);
        }
    });
}

void backend::run()
{
    while (true) {
        obey();
        if (stop_) {
            return;
        }
        hear();
        if (vifs_changed_) {
            look_for_vifs();
        }
        wait(serve());
    }
}

void backend::obey()
{
    while (true) {
        std::function<void()> next;
        {
            const std::scoped_lock lock{mutex_};
            if (calls_.empty()) {
                return;
            }
            next = std::move(calls_.front());
            calls_.pop_front();
        }
        next();
    }
}

// What changed is only noted: a guest can make any number of events of one change.
void backend::hear()
{
    constexpr int most = 1024; // so that calls are heard as well
    for (int i = 0; i < most; ++i) {
        const auto event = hypervisor_->store().next_event();
        if (!event) {
            return;
        }
        std::optional<vif_id> id;
        if (vif::writes_alone(event->path)) {
            continue; // a guest that asks for one hash after another is the cause of any number
        }
        if (event->token == all_token) {
            vifs_changed_ = true;
            id = vif_of_path(event->path);
        } else {
            id = vif_of_token(event->token);
        }
        if (id) {
            if (const auto found = served_.find(*id); found != served_.end()) {
                found->second.changed = true;
            }
        } else {
            for (auto& [key, s] : served_) {
                s.changed = true;
            }
        }
    }
}

void backend::look_for_vifs()
{
    vifs_changed_ = false;
    if (!listener_) {
        return;
    }
    auto now = list_vifs();
    if (now != found_) {
        found_ = std::move(now);
        listener_(found_);
    }
}

// Empty when there is no such node.
std::string backend::value(const std::string& path)
{
    auto text = hypervisor_->store().read(path);
    return text.has_value() && *text ? std::move(**text) : std::string{};
}

void backend::decline(vif_id id)
{
    call([&] {
        const std::string path = id.backend_path() + "/state";
        if (!served_.contains(id) && value(path) == to_digit(xenbus_state::initialising)) {
            (void)hypervisor_->store().write(path, to_digit(xenbus_state::init_wait));
        }
    });
}

// The tool stack removes the device and waits for the back end to close it, 10 seconds or more.
void backend::close_unserved(const found_vif& v, const std::string& state)
{
    const std::string path = v.id.backend_path();
    if (v.script == own_script && !served_.contains(v.id) &&
        state == to_digit(xenbus_state::closing) && value(path + "/online") != "1") {
        (void)hypervisor_->store().write(path + "/state", to_digit(xenbus_state::closed));
    }
}

std::vector<found_vif> backend::list_vifs()
{
    std::vector<found_vif> out;
    store& s = hypervisor_->store();
    const auto names = [&s](const std::string& path) {
        auto list = s.list(path);
        return list.has_value() && *list ? std::move(**list) : std::vector<std::string>{};
    };
    for (const std::string& domain : names(all_vifs)) {
        for (const std::string& handle : names(all_vifs + "/" + domain)) {
            const std::string path = all_vifs + "/" + domain + "/" + handle;
            const auto id = vif_of_path(path);
            const std::string state = value(path + "/state");
            // What is being made or removed has no state.
            if (!id || state.empty()) {
                continue;
            }
            const std::string script = value(path + "/script");
            out.push_back({*id, value(path + "/bridge"), value(path + "/mac"),
                           script.substr(script.rfind('/') + 1),
                           to_number<std::uint32_t>(value(path + "/mtu")).value_or(0)});
            close_unserved(out.back(), state);
        }
    }
    std::ranges::sort(out, {}, &found_vif::id);
    return out;
}

// Returns for how long there is nothing to do.
std::chrono::milliseconds backend::serve()
{
    using std::chrono::milliseconds;
    constexpr int waits_for = 3; // times what it took: a quarter of this thread, at most
    constexpr milliseconds look_interval{50};
    constexpr milliseconds patience{500}; // with a store that does not answer
    auto next = clock::now() + look_interval;
    for (auto& [id, s] : served_) {
        const auto begin = clock::now();
        if (begin < s.not_before) {
            next = std::min(next, s.not_before);
            continue;
        }
        bool more = false;
        if (s.changed) {
            s.changed = !s.device->evaluate();
            more = true; // its time is to be counted
        }
        if (s.device->look()) {
            more = true;
            next = begin;
        }
        if (more) {
            const auto end = clock::now();
            s.not_before = end + (end - begin) * waits_for;
            if (s.changed) {
                s.not_before += patience;
            }
        }
    }
    const auto left = std::chrono::ceil<milliseconds>(next - clock::now());
    return std::max(left, milliseconds{0});
}

void backend::wait(std::chrono::milliseconds at_most)
{
    std::vector<pollfd> all{
        {.fd = wake_, .events = POLLIN, .revents = 0},
        {.fd = hypervisor_->store().descriptor(), .events = POLLIN, .revents = 0}};
    const auto now = clock::now();
    for (const auto& [id, s] : served_) {
        if (const int fd = s.device->control_descriptor(); fd >= 0 && s.not_before <= now) {
            all.push_back({.fd = fd, .events = POLLIN, .revents = 0});
        }
    }
    (void)::poll(all.data(), all.size(), static_cast<int>(at_most.count()));
    std::uint64_t count = 0;
    [[maybe_unused]] const auto taken = ::read(wake_, &count, sizeof count);
}

} // namespace strait::xen
