// SPDX-License-Identifier: BSD-3-Clause
// The store's operations. One checks everything before it changes anything.
#include "ports/xen-netback/simulated/store_tree.hh"

#include <algorithm>
#include <utility>

namespace strait::xen::simulated {

namespace errc = boost::system::errc;
using boost::system::error_code;

namespace {

constexpr domain_id privileged{0};

error_code code(errc::errc_t e)
{
    return errc::make_error_code(e);
}

// The length of "/local/domain/N/", if the path begins so.
std::size_t domain_prefix(std::string_view path)
{
    constexpr std::string_view folder = "/local/domain/";
    constexpr std::size_t most_digits = 5;
    if (!path.starts_with(folder)) {
        return 0;
    }
    const auto end = path.find_first_not_of("0123456789", folder.size());
    const bool number = end != std::string_view::npos && end > folder.size() &&
                        end <= folder.size() + most_digits && path[end] == '/';
    return number ? end + 1 : 0;
}

bool valid_path(std::string_view path)
{
    if (path.empty() || path.front() != '/' ||
        path.size() > domain_prefix(path) + store_tree::most_path) {
        return false;
    }
    if (path.size() > 1 && path.back() == '/') {
        return false;
    }
    const auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '/' || c == '_' || c == '@';
    };
    return path.find("//") == std::string_view::npos &&
           std::all_of(path.begin(), path.end(), allowed);
}

// No node, but what can be watched as if it were one.
bool special(std::string_view path)
{
    return path.starts_with('@');
}

std::string home(domain_id d)
{
    return "/local/domain/" + std::to_string(static_cast<unsigned>(d)) + "/";
}

std::string parent_of(const std::string& path)
{
    const auto slash = path.rfind('/');
    return slash == 0 ? "/" : path.substr(0, slash);
}

std::string name_of(const std::string& path)
{
    return path.substr(path.rfind('/') + 1);
}

std::string below(const std::string& path, const std::string& name)
{
    return path == "/" ? path + name : path + "/" + name;
}

bool is_below(std::string_view path, std::string_view top)
{
    if (top == "/") {
        return path.size() > 1;
    }
    return path.size() > top.size() && path.starts_with(top) && path[top.size()] == '/';
}

bool has(access a, access wanted)
{
    const auto bits = static_cast<unsigned>(wanted);
    return (static_cast<unsigned>(a) & bits) == bits;
}

domain_id owner_of(const permissions& p)
{
    return p.front().domain;
}

} // namespace

class store_tree::view {
public:
    view(store_tree& tree, open_transaction* t) : tree_{tree}, transaction_{t} {}

    // What is there, for this caller's eyes or not. Valid until it is changed.
    const node* find(const std::string& path)
    {
        if (transaction_ != nullptr) {
            const touched& at = touch(path);
            return at.now ? &*at.now : nullptr;
        }
        const auto at = tree_.nodes_.find(path);
        return at == tree_.nodes_.end() ? nullptr : &at->second;
    }
    // As find(), but with an error when it is not there or not for the caller.
    outcome<const node*> find(caller c, const std::string& path, access wanted)
    {
        if (const node* const n = find(path)) {
            if (may(c.domain, n->allowed, wanted)) {
                return n;
            }
            return code(errc::permission_denied);
        }
        // Who may not look into the nearest folder there is, is not told what it has not.
        for (std::string up = path; up != "/";) {
            up = parent_of(up);
            if (const node* const n = find(up)) {
                return code(may(c.domain, n->allowed, wanted) ? errc::no_such_file_or_directory
                                                              : errc::permission_denied);
            }
        }
        return code(errc::no_such_file_or_directory);
    }
    void put(const std::string& path, std::optional<node> n)
    {
        if (transaction_ == nullptr) {
            tree_.put(path, std::move(n));
        } else {
            touched& at = touch(path);
            at.now = std::move(n);
            at.changed = true;
        }
    }
    // Watches are told now, or once by the commit.
    void tell(const std::string& path, bool exact, const permissions& before = {})
    {
        if (transaction_ == nullptr) {
            tree_.fire(path, exact, before);
        } else if (touched& at = touch(path); at.due != touched::event::with_above) {
            at.due = exact ? touched::event::exact : touched::event::with_above;
        }
    }
    // Nodes that the domain owns, as this view has it.
    [[nodiscard]] std::size_t owned(domain_id d) const
    {
        std::size_t count = tree_.nodes_of(d);
        if (transaction_ != nullptr) {
            for (const auto& t : transaction_->nodes) {
                const auto at = tree_.nodes_.find(t.path);
                if (t.changed) {
                    count -=
                        at != tree_.nodes_.end() && owner_of(at->second.allowed) == d ? 1U : 0U;
                    count += t.now && owner_of(t.now->allowed) == d ? 1U : 0U;
                }
            }
        }
        return count;
    }
    // A node with all below it; not the root.
    void remove(const std::string& path)
    {
        remove_all(path, false);
        const std::string up = parent_of(path);
        node above = *find(up);
        above.children.erase(name_of(path));
        put(up, std::move(above));
    }
    outcome<void> check_size(caller c, const node& n) const
    {
        constexpr std::size_t header = 24;
        constexpr std::size_t of_permission = 8;
        std::size_t size = header + n.allowed.size() * of_permission + n.value.size();
        for (const auto& name : n.children) {
            size += name.size() + 1;
        }
        if (c.domain != privileged && size >= tree_.quotas_.entry_bytes) {
            return code(errc::no_space_on_device);
        }
        return {};
    }
    // A new node of that value, and the folders above that are missing.
    outcome<void> create(caller c, const std::string& path, std::string_view value)
    {
        std::vector<std::string> missing{path};
        std::string up = parent_of(path);
        while (find(up) == nullptr) {
            missing.push_back(up);
            up = parent_of(up);
        }
        node above = *find(up);
        if (!may(c.domain, above.allowed, access::write)) {
            return code(errc::permission_denied);
        }
        node made;
        made.allowed = above.allowed;
        if (c.domain != privileged) {
            made.allowed.front().domain = c.domain;
            if (owned(c.domain) + missing.size() > tree_.quotas_.nodes) {
                return code(errc::no_space_on_device);
            }
        }
        above.children.insert(name_of(missing.back()));
        node leaf = made;
        leaf.value = value;
        for (const node* n : {&above, &leaf}) {
            if (auto fits = check_size(c, *n); fits.has_error()) {
                return fits;
            }
        }
        put(up, std::move(above));
        while (missing.size() > 1) {
            const std::string at = std::move(missing.back());
            missing.pop_back();
            node folder = made;
            folder.children.insert(name_of(missing.back()));
            put(at, std::move(folder));
        }
        put(path, std::move(leaf));
        tell(path, false);
        return {};
    }

private:
    touched& touch(const std::string& path)
    {
        auto& all = transaction_->nodes;
        const auto [at, first] = transaction_->index.try_emplace(path, all.size());
        if (first) {
            touched& t = all.emplace_back();
            t.path = path;
            if (const auto now = tree_.nodes_.find(path); now != tree_.nodes_.end()) {
                t.generation = now->second.generation;
                t.before = now->second.allowed;
                t.now = now->second;
            }
        }
        return all[at->second];
    }
    // What is below goes first. Its own watches are told, not again those above.
    void remove_all(const std::string& path, bool below_another)
    {
        const node* const n = find(path);
        if (n == nullptr) {
            return;
        }
        const auto children = n->children;
        const permissions before = n->allowed;
        for (const auto& name : children) {
            remove_all(below(path, name), true);
        }
        put(path, std::nullopt);
        tell(path, below_another, before);
    }

    store_tree& tree_;
    open_transaction* transaction_;
};

store_tree::store_tree(sink events, store_quotas quotas)
    : events_{std::move(events)},
      quotas_{quotas},
      domains_{privileged},
      specials_{{"@introduceDomain", {{privileged, access::none}}},
                {"@releaseDomain", {{privileged, access::none}}}}
{
    node root;
    root.allowed = {{privileged, access::none}};
    put("/", std::move(root));
}

bool store_tree::may(domain_id d, const permissions& p, access wanted)
{
    if (d == privileged || d == owner_of(p)) {
        return true;
    }
    const auto listed = std::find_if(p.begin() + 1, p.end(),
                                     [d](const permission& entry) { return entry.domain == d; });
    return has(listed == p.end() ? p.front().allowed : listed->allowed, wanted);
}

std::size_t store_tree::nodes_of(domain_id d) const
{
    const auto at = owned_.find(d);
    return at == owned_.end() ? 0 : at->second;
}

void store_tree::put(const std::string& path, std::optional<node> n)
{
    const auto at = nodes_.find(path);
    if (at != nodes_.end()) {
        const auto count = owned_.find(owner_of(at->second.allowed));
        if (--count->second == 0) {
            owned_.erase(count);
        }
    }
    if (!n) {
        if (at != nodes_.end()) {
            nodes_.erase(at);
        }
        return;
    }
    ++owned_[owner_of(n->allowed)];
    n->generation = ++generation_;
    nodes_.insert_or_assign(path, std::move(*n));
}

auto store_tree::absolute(caller c, const std::string& path) const -> outcome<std::string>
{
    std::string whole = path.starts_with('/') || special(path) ? path : home(c.domain) + path;
    if (!valid_path(whole)) {
        return code(errc::invalid_argument);
    }
    return whole;
}

auto store_tree::open(caller c, transaction t) -> outcome<view>
{
    if (t == transaction::none) {
        return view{*this, nullptr};
    }
    const auto at = transactions_.find(static_cast<std::uint32_t>(t));
    if (at == transactions_.end() || at->second.owner != c.id) {
        return code(errc::no_such_file_or_directory);
    }
    return view{*this, &at->second};
}

auto store_tree::read(caller c, const std::string& path, transaction t) -> outcome<std::string>
{
    const auto whole = absolute(c, path);
    if (whole.has_error()) {
        return whole.error();
    }
    auto v = open(c, t);
    if (v.has_error()) {
        return v.error();
    }
    const auto n = v->find(c, *whole, access::read);
    if (n.has_error()) {
        return n.error();
    }
    return (*n)->value;
}

auto store_tree::list(caller c, const std::string& path, transaction t)
    -> outcome<std::vector<std::string>>
{
    const auto whole = absolute(c, path);
    if (whole.has_error()) {
        return whole.error();
    }
    auto v = open(c, t);
    if (v.has_error()) {
        return v.error();
    }
    const auto n = v->find(c, *whole, access::read);
    if (n.has_error()) {
        return n.error();
    }
    return std::vector<std::string>((*n)->children.begin(), (*n)->children.end());
}

auto store_tree::write(caller c, const std::string& path, std::string_view value, transaction t)
    -> outcome<void>
{
    if (path.size() + 1 + value.size() > most_payload) {
        return code(errc::argument_list_too_long);
    }
    const auto whole = absolute(c, path);
    if (whole.has_error()) {
        return whole.error();
    }
    auto v = open(c, t);
    if (v.has_error()) {
        return v.error();
    }
    if (v->find(*whole) == nullptr) {
        return v->create(c, *whole, value);
    }
    const auto n = v->find(c, *whole, access::write);
    if (n.has_error()) {
        return n.error();
    }
    node changed = **n;
    changed.value = value;
    if (auto fits = v->check_size(c, changed); fits.has_error()) {
        return fits;
    }
    v->put(*whole, std::move(changed));
    v->tell(*whole, false);
    return {};
}

auto store_tree::make_folder(caller c, const std::string& path, transaction t) -> outcome<void>
{
    const auto whole = absolute(c, path);
    if (whole.has_error()) {
        return whole.error();
    }
    auto v = open(c, t);
    if (v.has_error()) {
        return v.error();
    }
    if (v->find(*whole) == nullptr) {
        return v->create(c, *whole, {});
    }
    const auto n = v->find(c, *whole, access::write);
    return n.has_error() ? outcome<void>{n.error()} : outcome<void>{};
}

auto store_tree::remove(caller c, const std::string& path, transaction t) -> outcome<void>
{
    const auto whole = absolute(c, path);
    if (whole.has_error()) {
        return whole.error();
    }
    auto v = open(c, t);
    if (v.has_error()) {
        return v.error();
    }
    const auto n = v->find(c, *whole, access::write);
    if (n.has_error()) {
        // It was not there already: that is fine if its folder is.
        const bool nothing =
            n.error() == errc::no_such_file_or_directory && v->find(parent_of(*whole)) != nullptr;
        return nothing ? outcome<void>{} : outcome<void>{n.error()};
    }
    if (*whole == "/") {
        return code(errc::invalid_argument);
    }
    v->remove(*whole);
    return {};
}

auto store_tree::get_permissions(caller c, const std::string& path, transaction t)
    -> outcome<permissions>
{
    const auto whole = absolute(c, path);
    if (whole.has_error()) {
        return whole.error();
    }
    auto v = open(c, t);
    if (v.has_error()) {
        return v.error();
    }
    const auto n = v->find(c, *whole, access::read);
    if (n.has_error()) {
        return n.error();
    }
    return (*n)->allowed;
}

auto store_tree::set_permissions(caller c, const std::string& path, permissions p, transaction t)
    -> outcome<void>
{
    if (p.empty()) {
        return code(errc::invalid_argument);
    }
    if (c.domain != privileged && p.size() > quotas_.permissions) {
        return code(errc::no_space_on_device);
    }
    // Nobody can have a right before it is: who comes later by that number is another.
    if (!domains_.contains(owner_of(p))) {
        return code(errc::no_such_file_or_directory);
    }
    std::erase_if(p, [this](const permission& one) { return !domains_.contains(one.domain); });
    if (special(path)) {
        return set_special(c, path, std::move(p));
    }
    const auto whole = absolute(c, path);
    if (whole.has_error()) {
        return whole.error();
    }
    auto v = open(c, t);
    if (v.has_error()) {
        return v.error();
    }
    const auto n = v->find(c, *whole, access::write);
    if (n.has_error()) {
        return n.error();
    }
    // The owner alone, who may not give it away: else its quota could be another's.
    if (c.domain != privileged && owner_of((*n)->allowed) != c.domain) {
        return code(errc::permission_denied);
    }
    if (c.domain != privileged && owner_of(p) != c.domain) {
        return code(errc::operation_not_permitted);
    }
    node changed = **n;
    const permissions before = std::exchange(changed.allowed, std::move(p));
    if (auto fits = v->check_size(c, changed); fits.has_error()) {
        return fits;
    }
    v->put(*whole, std::move(changed));
    v->tell(*whole, false, before);
    return {};
}

auto store_tree::set_special(caller c, const std::string& name, permissions p) -> outcome<void>
{
    const auto at = specials_.find(name);
    if (at == specials_.end()) {
        return code(errc::invalid_argument);
    }
    if (c.domain != privileged && c.domain != owner_of(at->second)) {
        return code(errc::permission_denied);
    }
    at->second = std::move(p);
    return {};
}

auto store_tree::begin(caller c) -> outcome<transaction>
{
    const auto of_domain =
        std::count_if(transactions_.begin(), transactions_.end(),
                      [c](const auto& t) { return t.second.domain == c.domain; });
    if (c.domain != privileged && static_cast<std::size_t>(of_domain) > quotas_.transactions) {
        return code(errc::no_space_on_device);
    }
    do {
        ++last_transaction_;
    } while (last_transaction_ == 0 || transactions_.contains(last_transaction_));
    transactions_.emplace(last_transaction_, open_transaction{c.id, c.domain});
    return transaction{last_transaction_};
}

auto store_tree::commit(caller c, transaction t) -> outcome<void>
{
    const auto at = transactions_.find(static_cast<std::uint32_t>(t));
    if (at == transactions_.end() || at->second.owner != c.id) {
        return code(errc::no_such_file_or_directory);
    }
    open_transaction done = std::move(at->second);
    transactions_.erase(at);
    bool makes = false;
    for (const auto& met : done.nodes) {
        const auto now = nodes_.find(met.path);
        if ((now == nodes_.end() ? 0 : now->second.generation) != met.generation) {
            return code(errc::resource_unavailable_try_again);
        }
        makes = makes || (met.generation == 0 && met.now);
    }
    if (makes && c.domain != privileged && view{*this, &done}.owned(c.domain) >= quotas_.nodes) {
        return code(errc::no_space_on_device);
    }
    for (auto& met : done.nodes) {
        if (met.changed) {
            put(met.path, std::move(met.now));
        }
        if (met.due != touched::event::none) {
            fire(met.path, met.due == touched::event::exact, met.before);
        }
    }
    return {};
}

auto store_tree::abandon(caller c, transaction t) -> outcome<void>
{
    const auto at = transactions_.find(static_cast<std::uint32_t>(t));
    if (at == transactions_.end() || at->second.owner != c.id) {
        return code(errc::no_such_file_or_directory);
    }
    transactions_.erase(at);
    return {};
}

auto store_tree::watch(caller c, const std::string& path, const std::string& token) -> outcome<void>
{
    if (path.size() + token.size() + 2 > most_payload) {
        return code(errc::argument_list_too_long);
    }
    watcher w{c, path, token, false};
    if (!special(path)) {
        auto whole = absolute(c, path);
        if (whole.has_error()) {
            return whole.error();
        }
        w.path = std::move(*whole);
        w.relative = !path.starts_with('/');
    } else if (path.size() > most_path) {
        return code(errc::invalid_argument);
    }
    std::size_t of_domain = 0;
    for (const auto& other : watchers_) {
        of_domain += other.who.domain == c.domain ? 1U : 0U;
        if (other.who.id == c.id && other.path == w.path && other.token == token) {
            return code(errc::file_exists);
        }
    }
    if (c.domain != privileged && of_domain > quotas_.watches) {
        return code(errc::argument_list_too_long);
    }
    watchers_.push_back(std::move(w));
    send(watchers_.back(), watchers_.back().path);
    return {};
}

auto store_tree::unwatch(caller c, const std::string& path, const std::string& token)
    -> outcome<void>
{
    std::string whole = path;
    if (!special(path)) {
        auto found = absolute(c, path);
        if (found.has_error()) {
            return found.error();
        }
        whole = std::move(*found);
    }
    const auto gone = std::erase_if(watchers_, [&](const watcher& w) {
        return w.who.id == c.id && w.path == whole && w.token == token;
    });
    return gone == 0 ? outcome<void>{code(errc::no_such_file_or_directory)} : outcome<void>{};
}

void store_tree::send(const watcher& w, const std::string& path) const
{
    const std::string top = w.relative ? home(w.who.domain) : std::string{};
    events_(w.who.id, {path.starts_with(top) ? path.substr(top.size()) : path, w.token});
}

void store_tree::announce(const std::string& name) const
{
    for (const auto& w : watchers_) {
        if (w.path == name && may(w.who.domain, specials_.at(name), access::read)) {
            send(w, name);
        }
    }
}

void store_tree::fire(const std::string& path, bool exact, const permissions& before) const
{
    const auto now = nodes_.find(path);
    const auto above = nodes_.find(parent_of(path));
    const auto readable = [this](const auto& at, domain_id d) {
        return at != nodes_.end() && may(d, at->second.allowed, access::read);
    };
    for (const auto& w : watchers_) {
        const domain_id d = w.who.domain;
        if ((w.path == path || (!exact && is_below(path, w.path))) &&
            ((!before.empty() && may(d, before, access::read)) || readable(now, d) ||
             readable(above, d))) {
            send(w, path);
        }
    }
}

void store_tree::introduce(domain_id d)
{
    domains_.insert(d);
    announce("@introduceDomain");
}

void store_tree::release(domain_id d)
{
    domains_.erase(d);
    std::vector<std::string> owned;
    for (const auto& [path, n] : nodes_) {
        if (owner_of(n.allowed) == d && path != "/") {
            owned.push_back(path);
        }
    }
    view all{*this, nullptr};
    for (const auto& path : owned) {
        if (all.find(path) != nullptr) { // else it was below another
            all.remove(path);
        }
    }
    const auto forget = [d](permissions& list) {
        std::erase_if(list, [d](const permission& one) { return one.domain == d; });
    };
    for (auto& [path, n] : nodes_) {
        forget(n.allowed);
    }
    for (auto& [name, list] : specials_) {
        if (owner_of(list) == d) {
            list.front().domain = privileged;
        }
        forget(list);
    }
    announce("@releaseDomain");
}

void store_tree::forget(client id)
{
    std::erase_if(watchers_, [id](const watcher& w) { return w.who.id == id; });
    std::erase_if(transactions_, [id](const auto& t) { return t.second.owner == id; });
}

} // namespace strait::xen::simulated
