// SPDX-License-Identifier: BSD-3-Clause
// Requests, and what becomes of what a connection held.
#include "ports/xen-netback/simulated/connection.hh"

#include <boost/asio/post.hpp>

#include <array>
#include <cerrno>

#include <sys/eventfd.h>
#include <sys/socket.h>

namespace strait::xen::simulated {

namespace asio = boost::asio;
using boost::system::error_code;
using wire::reader;
using wire::request;
using wire::writer;

namespace {

constexpr std::uint16_t first_reserved_domain = 0x7ff0;
constexpr std::uint32_t most_ports = 4096;    // of a domain
constexpr std::uint64_t events_kept = 16'384; // for one connection that does not read them

// An answer that says no.
struct refusal {
    int code;
    std::string why;
};

// The message was no request: its sender is hung up on.
struct garbage {};

std::string name_of(domain_id d)
{
    return "domain " + std::to_string(static_cast<unsigned>(d));
}

} // namespace

std::optional<std::uint32_t> numbers::take(std::uint32_t count)
{
    for (auto at = free_.begin(); at != free_.end(); ++at) {
        const auto [first, end] = *at;
        if (end - first >= count) {
            free_.erase(at);
            if (end - first > count) {
                free_[first + count] = end;
            }
            return first;
        }
    }
    return std::nullopt;
}

void numbers::give_back(std::uint32_t first, std::uint32_t count)
{
    std::uint32_t end = first + count;
    const auto after = free_.lower_bound(first);
    if (after != free_.end() && after->first == end) {
        end = after->second;
        free_.erase(after);
    }
    const auto next = free_.lower_bound(first);
    if (next != free_.begin() && std::prev(next)->second == first) {
        std::prev(next)->second = end;
    } else {
        free_[first] = end;
    }
}

void connection::wait()
{
    socket_.async_wait(asio::posix::descriptor_base::wait_read,
                       [self = shared_from_this()](error_code error) {
                           if (!error && self->socket_.is_open()) {
                               self->ready();
                           }
                       });
}

void connection::queue(writer message, std::chrono::milliseconds delay,
                       std::optional<watch_event> e)
{
    const auto merging = world_.plan->settings().watch_merging;
    if (e && merging != merging::none && !e->path.starts_with('@')) {
        // Kept where the first of them stood.
        for (auto& p : pending_) {
            if (p.event && p.event->token == e->token &&
                (merging == merging::token || p.event->path == e->path)) {
                p.message = std::move(message);
                p.event = std::move(e);
                return;
            }
        }
    }
    if (pending_.size() >= events_kept) {
        // From within a request, perhaps this one's: later.
        asio::post(world_.io, [self = shared_from_this()] { self->close(); });
        return;
    }
    pending_.push_back(
        {std::chrono::steady_clock::now() + delay, std::move(message), std::move(e)});
    flush();
}

void connection::count_mapped(const domain& of, std::map<std::uint32_t, std::uint32_t>& uses) const
{
    for (const auto& [identity, m] : mappings_) {
        if (m.of.get() == &of) {
            for (const std::uint32_t r : m.references) {
                ++uses[r];
            }
        }
    }
}

void connection::ready()
{
    // A client that never stops asking lets others have their turn.
    for (int i = 0; i < 16; ++i) {
        std::array<file_descriptor, wire::most_descriptors> unwanted;
        const int code = wire::receive(socket_.native_handle(), world_.buffer, unwanted, true);
        if (code == EAGAIN) {
            break;
        }
        if (code != 0 || world_.buffer.empty() || !handle(reader{world_.buffer})) {
            close();
            return;
        }
        if (!socket_.is_open()) {
            return; // it asked for its own end
        }
    }
    wait();
}

bool connection::handle(reader in)
{
    answer out;
    int code = 0;
    std::string why;
    try {
        answer_request(in, out);
    } catch (const garbage&) {
        return false;
    } catch (const refusal& r) {
        out = {};
        code = r.code;
        why = r.why;
    }
    writer message;
    message.add(static_cast<std::uint32_t>(code)).add(std::string_view{why}).append(out.fields);
    if (message.bytes().size() > wire::longest) {
        message = {};
        message.add(std::uint32_t{E2BIG})
            .add(std::string_view{"the answer is too long for a message"});
        out.descriptors.clear();
    }
    return !socket_.is_open() ||
           wire::send(socket_.native_handle(), message.bytes(), out.descriptors, true) == 0;
}

void connection::done(const reader& in)
{
    if (!in.complete()) {
        throw garbage{};
    }
}

// What the request, of one number, gives back.
template <typename Held>
Held connection::take(reader& in, std::map<std::uint32_t, Held>& from, const char* what)
{
    const auto at = from.find(in.number<std::uint32_t>());
    done(in);
    if (at == from.end()) {
        throw refusal{EINVAL, std::string{"there is no such "} + what};
    }
    Held held = std::move(at->second);
    from.erase(at);
    return held;
}

void connection::privileged(const char* what) const
{
    if (domain_->id != domain_id{0}) {
        throw refusal{EPERM, std::string{what} + " is for domain 0 alone"};
    }
}

std::uint64_t connection::strike(operation on, domain_id d,
                                 std::span<const std::uint32_t> references, const std::string& what)
{
    std::vector<fault_plan::target> targets;
    for (const std::uint32_t r : references) {
        targets.push_back({d, r});
    }
    const fault_rule* const rule = world_.plan->strike(on, targets);
    if (rule == nullptr) {
        return 0;
    }
    if (rule->what == effect::delay) {
        return static_cast<std::uint64_t>(rule->delay.count());
    }
    throw refusal{on == operation::commit ? EAGAIN : EIO,
                  what + " fails by configuration: " + to_string(rule->status)};
}

void connection::release(const mapping& m)
{
    for (const std::uint32_t r : m.references) {
        m.of->memory.release(r);
    }
}

void connection::flush()
{
    while (!pending_.empty() && !waiting_ && events_.is_open()) {
        const auto then = [self = shared_from_this()](error_code error) {
            self->waiting_ = false;
            if (!error) {
                self->flush();
            }
        };
        if (pending_.front().due > std::chrono::steady_clock::now()) {
            waiting_ = true;
            timer_.expires_at(pending_.front().due);
            timer_.async_wait(then);
            return;
        }
        const int code =
            wire::send(events_.native_handle(), pending_.front().message.bytes(), {}, true);
        if (code == EAGAIN) {
            waiting_ = true;
            events_.async_wait(asio::posix::descriptor_base::wait_write, then);
            return;
        }
        pending_.pop_front(); // sent, or nobody reads any more, which the other socket will tell
    }
}

void connection::close()
{
    if (!socket_.is_open()) {
        return;
    }
    const auto self = shared_from_this();
    error_code ignored;
    socket_.close(ignored);
    events_.close(ignored);
    timer_.cancel();
    pending_.clear();
    world_.connections.erase(id_);
    world_.store.forget(id_);
    if (!domain_) {
        return;
    }
    for (const auto& [identity, c] : bindings_) {
        unbind(c);
    }
    bindings_.clear();
    for (const auto& [identity, m] : mappings_) {
        release(m);
    }
    mappings_.clear();
    std::erase_if(domain_->ports, [this](const auto& p) { return p.second->offered_by == this; });
    // A process that was killed amid a copy has left grants in use. What is right is what mappings
    // hold; the copies that other processes of this domain do just now are not known.
    for (const auto& [id, d] : world_.domains) {
        std::map<std::uint32_t, std::uint32_t> uses;
        for (const auto& [client, c] : world_.connections) {
            if (c->domain_ && c->domain_->id == domain_->id) {
                c->count_mapped(*d, uses);
            }
        }
        for (std::uint32_t r = 0; r < d->memory.layout().grants; ++r) {
            const std::uint64_t entry = d->memory.entry(r);
            if (grant_entry::uses(entry) != 0) {
                const auto known = uses.find(r);
                d->memory.correct_uses(r, domain_->id, known == uses.end() ? 0 : known->second);
            }
        }
    }
    if (--domain_->connections == 0 && domain_->id != domain_id{0}) {
        const auto at = world_.domains.find(domain_->id);
        if (at != world_.domains.end() && at->second == domain_) {
            world_.end(domain_->id);
        }
        return;
    }
    // The domain lives on without this process: its grants end, those in use with their pages
    // never.
    bool all = true;
    for (const auto& g : grants_) {
        for (std::uint32_t r = g.first; r < g.first + g.count; ++r) {
            all = domain_->memory.revoke(r) && all;
        }
    }
    if (all) {
        for (const auto& g : grants_) {
            domain_->grants.give_back(g.first, g.count);
        }
        for (const auto& f : frames_) {
            domain_->frames.give_back(f.first, f.count);
        }
    }
}

void world::deliver(store_tree::client to, watch_event e)
{
    const auto at = connections.find(to);
    if (at != connections.end()) {
        writer message;
        message.add(wire::event::watch)
            .add(std::string_view{e.path})
            .add(std::string_view{e.token});
        at->second->queue(std::move(message), plan->settings().watch_delay, std::move(e));
    }
}

domain& world::find(domain_id id)
{
    const auto at = domains.find(id);
    if (at == domains.end()) {
        throw refusal{ESRCH, "there is no " + name_of(id)};
    }
    return *at->second;
}

void world::set_faults(faults f)
{
    plan = std::make_unique<fault_plan>(std::move(f));
    const std::string text = faults_of_copies();
    for (const auto& [id, c] : connections) {
        if (c->greeted()) {
            writer message;
            message.add(wire::event::faults).add(std::string_view{text});
            c->queue(std::move(message), std::chrono::milliseconds{0}, std::nullopt);
        }
    }
}

std::shared_ptr<domain> world::make(domain_id id, memory_layout layout)
{
    if (static_cast<std::uint16_t>(id) >= first_reserved_domain) {
        throw refusal{EINVAL, name_of(id) + " cannot be: numbers from 32752 on are reserved"};
    }
    if (domains.contains(id)) {
        throw refusal{EEXIST, name_of(id) + " exists already"};
    }
    auto memory = domain_memory::make(id, layout);
    if (memory.has_error()) {
        throw refusal{ENOMEM, memory.error().message};
    }
    auto d = std::make_shared<domain>(id, std::move(memory).value());
    domains.emplace(id, d);
    store.introduce(id);
    return d;
}

void world::end(domain_id id)
{
    const auto at = domains.find(id);
    const auto gone = at->second;
    domains.erase(at);
    gone->memory.end();
    gone->ports.clear();
    std::vector<std::shared_ptr<connection>> its;
    for (const auto& [client, c] : connections) {
        if (c->own() == gone) {
            its.push_back(c);
        }
    }
    for (const auto& c : its) {
        c->close();
    }
    store.release(id);
}

void connection::hello(reader& in, answer& out)
{
    const auto version = in.number<std::uint32_t>();
    const auto id = in.number<domain_id>();
    const bool create = in.number<bool>();
    const auto grants = in.number<std::uint32_t>();
    const auto pages = in.number<std::uint32_t>();
    done(in);
    if (version != wire::version || greeted()) {
        throw garbage{};
    }
    const auto at = world_.domains.find(id);
    if (at == world_.domains.end() && !create) {
        throw refusal{ESRCH, "there is no " + name_of(id)};
    }
    int pair[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
        throw refusal{errno, "the simulator has no descriptors left"};
    }
    file_descriptor ours{pair[0]};
    out.owned.emplace_back(pair[1]);
    out.descriptors = {pair[1]};
    domain_ = at == world_.domains.end() ? world_.make(id, {grants, pages}) : at->second;
    ++domain_->connections;
    events_.assign(ours.release());
    out.fields.add(std::string_view{world_.faults_of_copies()});
}

void connection::map(reader& in, answer& out)
{
    const auto id = in.number<domain_id>();
    const auto count = in.number<std::uint32_t>();
    if (count == 0 || count > wire::most_mapped) {
        throw garbage{};
    }
    std::vector<std::uint32_t> references(count);
    for (auto& r : references) {
        r = in.number<std::uint32_t>();
    }
    done(in);
    const auto at = world_.domains.find(id);
    if (at == world_.domains.end()) {
        throw refusal{ESRCH, "there is no " + name_of(id) +
                                 " to map a grant of: " + to_string(grant_status::bad_domain)};
    }
    const auto delay = strike(operation::map, id, references, "mapping grants of " + name_of(id));
    mapping m{at->second, {}};
    std::vector<std::uint32_t> frames;
    for (const std::uint32_t r : references) {
        const auto claimed = at->second->memory.claim(domain_->id, r, true);
        if (claimed.status != grant_status::done) {
            release(m);
            throw refusal{EIO, "grant " + std::to_string(r) + " of " + name_of(id) +
                                   " cannot be mapped: " + to_string(claimed.status)};
        }
        m.references.push_back(r);
        frames.push_back(claimed.frame);
    }
    mappings_.emplace(++last_identity_, std::move(m));
    out.fields.add(last_identity_).add(delay);
    for (const std::uint32_t f : frames) {
        out.fields.add(f);
    }
}

void connection::offer(reader& in, answer& out)
{
    const auto to = in.number<domain_id>();
    done(in);
    std::uint32_t port = 1;
    while (domain_->ports.contains(port)) {
        ++port;
    }
    auto c = std::make_shared<channel>();
    c->offered_to = to;
    c->offered_by = this;
    c->towards_offerer = file_descriptor{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    c->towards_binder = file_descriptor{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (port > most_ports || !c->towards_offerer || !c->towards_binder) {
        throw refusal{ENOSPC, name_of(domain_->id) + " can have no more event channels"};
    }
    out.fields.add(port);
    out.descriptors = {c->towards_offerer.get(), c->towards_binder.get()};
    domain_->ports.emplace(port, std::move(c));
}

void connection::bind(reader& in, answer& out)
{
    const auto id = in.number<domain_id>();
    const auto port = in.number<std::uint32_t>();
    done(in);
    const std::string what = "event channel " + std::to_string(port) + " of " + name_of(id);
    domain& d = world_.find(id);
    const auto delay = strike(operation::bind, id, {&port, 1}, "binding " + what);
    const auto at = d.ports.find(port);
    if (at == d.ports.end() || at->second->offered_to != domain_->id) {
        throw refusal{EINVAL, what + " is not offered to " + name_of(domain_->id)};
    }
    const auto& c = at->second;
    if (c->bound_by != nullptr) {
        throw refusal{EINVAL, what + " is bound already"};
    }
    c->bound_by = this;
    bindings_.emplace(++last_identity_, c);
    // What was notified while nobody was bound is lost: hence the first look, as Xen has it.
    (void)::eventfd_write(c->towards_binder.get(), 1);
    out.fields.add(last_identity_).add(delay);
    out.descriptors = {c->towards_binder.get(), c->towards_offerer.get()};
}

void connection::ask_store(request kind, reader& in, answer& out)
{
    const store_tree::caller self{id_, domain_->id};
    store_tree& store = world_.store;
    const auto check = [](const auto& outcome) {
        if (outcome.has_error()) {
            throw refusal{outcome.error().value(), outcome.error().message()};
        }
    };
    if (kind == request::begin) {
        done(in);
        const auto t = store.begin(self);
        check(t);
        out.fields.add(*t);
        return;
    }
    if (kind == request::watch || kind == request::unwatch) {
        const std::string path = in.text();
        const std::string token = in.text();
        done(in);
        check(kind == request::watch ? store.watch(self, path, token)
                                     : store.unwatch(self, path, token));
        return;
    }
    const auto t = in.number<transaction>();
    if (kind == request::commit) {
        done(in);
        const std::uint32_t all = 0;
        if (world_.plan->concerns(operation::commit)) {
            try {
                (void)strike(operation::commit, domain_->id, {&all, 1}, "the commit");
            } catch (const refusal&) {
                check(store.abandon(self, t));
                throw;
            }
        }
        check(store.commit(self, t));
        return;
    }
    if (kind == request::abandon) {
        done(in);
        check(store.abandon(self, t));
        return;
    }
    const std::string path = in.text();
    switch (kind) {
    case request::read: {
        done(in);
        const auto value = store.read(self, path, t);
        check(value);
        out.fields.add(std::string_view{*value});
        break;
    }
    case request::list: {
        done(in);
        const auto names = store.list(self, path, t);
        check(names);
        out.fields.add(static_cast<std::uint32_t>(names->size()));
        for (const auto& name : *names) {
            out.fields.add(std::string_view{name});
        }
        break;
    }
    case request::write: {
        const std::string value = in.text();
        done(in);
        check(store.write(self, path, value, t));
        break;
    }
    case request::make_folder:
        done(in);
        check(store.make_folder(self, path, t));
        break;
    case request::remove:
        done(in);
        check(store.remove(self, path, t));
        break;
    case request::get_permissions: {
        done(in);
        const auto list = store.get_permissions(self, path, t);
        check(list);
        out.fields.add(static_cast<std::uint32_t>(list->size()));
        for (const auto& p : *list) {
            out.fields.add(p.domain).add(p.allowed);
        }
        break;
    }
    case request::set_permissions: {
        permissions list(std::min<std::size_t>(in.number<std::uint32_t>(), 1024));
        for (auto& p : list) {
            p.domain = in.number<domain_id>();
            p.allowed = in.number<access>();
            if (p.allowed > access::both) {
                throw garbage{};
            }
        }
        done(in);
        check(store.set_permissions(self, path, std::move(list), t));
        break;
    }
    default:
        throw garbage{};
    }
}

void connection::answer_request(reader& in, answer& out)
{
    const auto kind = in.number<request>();
    if (kind == request::hello) {
        hello(in, out);
        return;
    }
    if (!in.ok() || !greeted()) {
        throw garbage{};
    }
    switch (kind) {
    case request::memory: {
        const auto id = in.number<domain_id>();
        done(in);
        const domain& d = world_.find(id);
        out.fields.add(d.memory.layout().grants).add(d.memory.layout().pages);
        out.descriptors = {d.memory.descriptor()};
        break;
    }
    case request::allocate_pages:
    case request::allocate_grants: {
        const auto count = in.number<std::uint32_t>();
        done(in);
        const bool pages = kind == request::allocate_pages;
        const auto first =
            count == 0 ? std::nullopt : (pages ? domain_->frames : domain_->grants).take(count);
        if (!first) {
            throw refusal{ENOMEM, name_of(domain_->id) + " has no " + std::to_string(count) +
                                      (pages ? " free pages in a row" : " free grants in a row")};
        }
        (pages ? frames_ : grants_).push_back({*first, count});
        out.fields.add(*first);
        break;
    }
    case request::free_pages: {
        const auto first = in.number<std::uint32_t>();
        const auto count = in.number<std::uint32_t>();
        done(in);
        const auto at = std::find_if(frames_.begin(), frames_.end(), [=](const range& r) {
            return r.first == first && r.count == count;
        });
        if (at == frames_.end()) {
            throw refusal{EINVAL, "those pages were not allocated together"};
        }
        frames_.erase(at);
        domain_->frames.give_back(first, count);
        break;
    }
    case request::map:
        map(in, out);
        break;
    case request::unmap:
        release(take(in, mappings_, "mapping"));
        break;
    case request::offer:
        offer(in, out);
        break;
    case request::close:
        (void)take(in, domain_->ports, "event channel");
        break;
    case request::bind:
        bind(in, out);
        break;
    case request::unbind:
        unbind(take(in, bindings_, "binding"));
        break;
    case request::create_domain: {
        const auto id = in.number<domain_id>();
        const auto grants = in.number<std::uint32_t>();
        const auto pages = in.number<std::uint32_t>();
        done(in);
        privileged("making domains");
        (void)world_.make(id, {grants, pages});
        break;
    }
    case request::destroy_domain: {
        const auto id = in.number<domain_id>();
        done(in);
        privileged("ending domains");
        if (id == domain_id{0}) {
            throw refusal{EINVAL, "domain 0 does not end"};
        }
        (void)world_.find(id);
        world_.end(id);
        break;
    }
    case request::set_faults: {
        auto f = parse_faults(in.text());
        done(in);
        privileged("setting faults");
        if (f.has_error()) {
            throw refusal{EINVAL, f.error().message};
        }
        world_.set_faults(std::move(f).value());
        break;
    }
    default:
        ask_store(kind, in, out);
    }
}

} // namespace strait::xen::simulated
