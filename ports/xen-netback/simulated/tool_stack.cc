// SPDX-License-Identifier: BSD-3-Clause
// Domains and vifs in the store.
#include "ports/xen-netback/simulated/tool_stack.hh"

#include <cerrno>
#include <charconv>
#include <utility>
#include <vector>

namespace strait::xen::simulated {

using wire::request;
using wire::writer;

namespace {

using entries = std::vector<std::pair<std::string, std::string>>;

std::string number(domain_id d)
{
    return std::to_string(static_cast<unsigned>(d));
}

std::string folder_of(domain_id d)
{
    return "/local/domain/" + number(d);
}

// All of it or nothing; again while somebody else changes the same.
result<void> together(simulated_store& store,
                      const std::function<result<void>(transaction)>& change)
{
    constexpr int most_tries = 100;
    for (int i = 0; i < most_tries; ++i) {
        const auto t = store.begin();
        if (t.has_error()) {
            return t.error();
        }
        if (auto changed = change(*t); changed.has_error()) {
            store.abandon(*t);
            return changed;
        }
        const auto committed = store.commit(*t);
        if (committed.has_error()) {
            return committed.error();
        }
        if (*committed) {
            return {};
        }
    }
    return error{"the store's nodes are changed by others all the time"};
}

result<void> write_folder(simulated_store& store, transaction t, const std::string& path,
                          const permissions& allowed, const entries& nodes)
{
    if (auto made = store.make_folder(path, t); made.has_error()) {
        return made;
    }
    if (auto set = store.set_permissions(path, allowed, t); set.has_error()) {
        return set;
    }
    for (const auto& [name, value] : nodes) {
        if (auto written = store.write(path + "/" + name, value, t); written.has_error()) {
            return written;
        }
    }
    return {};
}

// Removes it, and the folders above that are left with nothing in them, as libxl does.
result<void> clean_up(simulated_store& store, transaction t, std::string path)
{
    if (auto gone = store.remove(path, t); gone.has_error()) {
        return gone;
    }
    for (auto slash = path.rfind('/'); slash != 0 && slash != std::string::npos;
         slash = path.rfind('/')) {
        path.resize(slash);
        const auto value = store.read(path, t);
        const auto names = store.list(path, t);
        if (value.has_error() || names.has_error() || !*value || !(*value)->empty() || !*names ||
            !(*names)->empty()) {
            break;
        }
        if (auto gone = store.remove(path, t); gone.has_error()) {
            return gone;
        }
    }
    return {};
}

} // namespace

result<std::unique_ptr<tool_stack>> tool_stack::connect(const std::string& socket)
{
    auto c = client::connect(socket, {domain_id{0}});
    if (c.has_error()) {
        return c.error();
    }
    return std::unique_ptr<tool_stack>{new tool_stack{std::move(c).value()}};
}

std::string tool_stack::frontend_path(domain_id d, unsigned handle)
{
    return folder_of(d) + "/device/vif/" + std::to_string(handle);
}

std::string tool_stack::backend_path(domain_id d, unsigned handle, domain_id backend)
{
    return folder_of(backend) + "/backend/vif/" + number(d) + "/" + std::to_string(handle);
}

std::string tool_stack::note_path(domain_id d, unsigned handle)
{
    return "/libxl/" + number(d) + "/device/vif/" + std::to_string(handle);
}

result<std::string> tool_stack::backend_of(domain_id d, unsigned handle)
{
    const auto path = store_.read(note_path(d, handle) + "/backend");
    if (path.has_error()) {
        return path.error();
    }
    if (!*path) {
        return error{"domain " + number(d) + " has no vif " + std::to_string(handle)};
    }
    return result<std::string>{boost::system::in_place_value, **path};
}

result<void> tool_stack::create_domain(domain_id d, const std::string& name, memory_layout layout)
{
    writer w;
    w.add(request::create_domain).add(d).add(layout.grants).add(layout.pages);
    if (auto made = client_->tell(w); made.has_error()) {
        return made;
    }
    return write_domain(d, name);
}

result<void> tool_stack::write_domain(domain_id d, const std::string& name)
{
    const permissions only_read{{domain_id{0}, access::none}, {d, access::read}};
    const permissions its_own{{d, access::none}};
    return together(store_, [&](transaction t) -> result<void> {
        const std::string top = folder_of(d);
        if (auto made =
                write_folder(store_, t, top, only_read, {{"name", name}, {"domid", number(d)}});
            made.has_error()) {
            return made;
        }
        for (const char* const part : {"/cpu", "/memory", "/device", "/control"}) {
            if (auto made = write_folder(store_, t, top + part, only_read, {}); made.has_error()) {
                return made;
            }
        }
        for (const char* const part :
             {"/control/shutdown", "/data", "/drivers", "/feature", "/attr", "/error"}) {
            if (auto made = write_folder(store_, t, top + part, its_own, {}); made.has_error()) {
                return made;
            }
        }
        return {};
    });
}

result<void> tool_stack::for_each_vif(domain_id d,
                                      const std::function<result<void>(unsigned)>& what)
{
    const auto vifs = store_.list("/libxl/" + number(d) + "/device/vif");
    if (vifs.has_error()) {
        return vifs.error();
    }
    for (const auto& name : vifs->value_or(std::vector<std::string>{})) {
        unsigned handle = 0;
        std::from_chars(name.data(), name.data() + name.size(), handle);
        if (auto done = what(handle); done.has_error()) {
            return done;
        }
    }
    return {};
}

result<void> tool_stack::destroy_domain(domain_id d)
{
    const auto destroy = [&](unsigned handle) { return destroy_vif(d, handle); };
    if (auto gone = for_each_vif(d, destroy); gone.has_error()) {
        return gone;
    }
    if (auto gone = store_.remove(folder_of(d)); gone.has_error()) {
        return gone;
    }
    writer w;
    w.add(request::destroy_domain).add(d);
    const auto a = client_->ask(w);
    if (a.code != 0 && a.code != ESRCH) { // it may have ended by itself
        return error{a.why};
    }
    return {};
}

result<void> tool_stack::forget_domain(domain_id d)
{
    const auto forget = [&](unsigned handle) { return forget_vif(d, handle); };
    if (auto gone = for_each_vif(d, forget); gone.has_error()) {
        return gone;
    }
    for (const auto& path : {"/libxl/" + number(d), folder_of(d)}) {
        if (auto gone = store_.remove(path); gone.has_error()) {
            return gone;
        }
    }
    return {};
}

result<void> tool_stack::add_vif(domain_id d, unsigned handle, const std::string& mac,
                                 const vif_options& options)
{
    const std::string front = frontend_path(d, handle);
    const std::string back = backend_path(d, handle, options.backend);
    entries back_nodes{{"frontend", front},
                       {"frontend-id", number(d)},
                       {"online", "1"},
                       {"state", "1"},
                       {"script", options.script},
                       {"mac", mac},
                       {"bridge", options.bridge},
                       {"handle", std::to_string(handle)},
                       {"type", "vif"},
                       {"hotplug-status", ""}};
    entries front_nodes{{"backend", back}, {"backend-id", number(options.backend)},
                        {"state", "1"},    {"handle", std::to_string(handle)},
                        {"mac", mac},      {"trusted", "1"}};
    if (!options.vifname.empty()) {
        back_nodes.emplace_back("vifname", options.vifname);
    }
    constexpr std::uint32_t usual_mtu = 1500;
    if (options.mtu && *options.mtu != usual_mtu) {
        back_nodes.emplace_back("mtu", std::to_string(*options.mtu));
    }
    if (options.rate) {
        back_nodes.emplace_back("rate", std::to_string(options.rate->bytes) + "," +
                                            std::to_string(options.rate->interval_us));
    }
    return together(store_, [&](transaction t) -> result<void> {
        const auto there = store_.read(note_path(d, handle) + "/backend", t);
        if (there.has_error()) {
            return there.error();
        }
        if (*there) {
            return error{"domain " + number(d) + " has a vif " + std::to_string(handle) +
                         " already"};
        }
        const permissions tools{{domain_id{0}, access::none}};
        const permissions of_front{{d, access::none}, {options.backend, access::read}};
        const permissions of_back{{options.backend, access::none}, {d, access::read}};
        if (auto done = write_folder(store_, t, note_path(d, handle), tools,
                                     {{"frontend", front}, {"backend", back}});
            done.has_error()) {
            return done;
        }
        if (auto done = write_folder(store_, t, front, of_front, front_nodes); done.has_error()) {
            return done;
        }
        // The one node there that is not the guest's to write.
        if (auto done =
                store_.write(front + "/mtu", std::to_string(options.mtu.value_or(usual_mtu)), t);
            done.has_error()) {
            return done;
        }
        if (auto done = store_.set_permissions(front + "/mtu", of_back, t); done.has_error()) {
            return done;
        }
        return write_folder(store_, t, back, of_back, back_nodes);
    });
}

result<void> tool_stack::detach_vif(domain_id d, unsigned handle)
{
    return close_vif(d, handle, false);
}

result<void> tool_stack::destroy_vif(domain_id d, unsigned handle)
{
    return close_vif(d, handle, true);
}

result<void> tool_stack::close_vif(domain_id d, unsigned handle, bool by_force)
{
    const auto back = backend_of(d, handle);
    if (back.has_error()) {
        return back.error();
    }
    return together(store_, [&](transaction t) -> result<void> {
        if (by_force) {
            if (auto gone = clean_up(store_, t, frontend_path(d, handle)); gone.has_error()) {
                return gone;
            }
        }
        const auto state = store_.read(*back + "/state", t);
        if (state.has_error()) {
            return state.error();
        }
        if (!*state) {
            return {}; // the back end's domain is gone: there is nobody to be told
        }
        if (auto done = store_.write(*back + "/online", "0", t); done.has_error()) {
            return done;
        }
        return **state == "6" ? result<void>{} : store_.write(*back + "/state", "5", t);
    });
}

result<void> tool_stack::forget_vif(domain_id d, unsigned handle)
{
    const auto back = backend_of(d, handle);
    if (back.has_error()) {
        return back.error();
    }
    return together(store_, [&](transaction t) -> result<void> {
        for (const auto& path : {frontend_path(d, handle), note_path(d, handle), *back}) {
            if (auto gone = clean_up(store_, t, path); gone.has_error()) {
                return gone;
            }
        }
        return {};
    });
}

result<void> tool_stack::set_faults(const faults& f)
{
    writer w;
    w.add(request::set_faults).add(std::string_view{to_json(f)});
    return client_->tell(w);
}

} // namespace strait::xen::simulated
