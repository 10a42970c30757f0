// SPDX-License-Identifier: BSD-3-Clause
// What the methods of the control service do: parameters to calls of the switch, its state to JSON.
#pragma once

#include "control/acl_list.hh"
#include "control/capture_list.hh"
#include "control/configuration.hh"
#include "control/flow_top.hh"
#include "control/methods.hh"
#include "control/mirror_list.hh"
#include "control/rpc.hh"
#include "control/switch.hh"
#include "control/xen_adoption.hh"

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace strait::control {

struct host_facts {
    std::vector<unsigned> worker_cpus; // by worker
    bool hugepages{false};
    bool physical_addresses{false};
    std::string hypervisor{};    // of Xen guests; empty: none
    std::string no_hypervisor{}; // then, why
};

class service {
public:
    // What it refers to outlives it.
    service(virtual_switch& sw, xen_adoption& adoption, capture_list& captures,
            mirror_list& mirrors, host_facts facts);

    [[nodiscard]] const control::rpc& rpc() const noexcept { return rpc_; }
    [[nodiscard]] control::configuration& configuration() noexcept { return config_; }
    // From here on what requests change is kept there.
    void keep_in(std::unique_ptr<store_writer> writer);

private:
    using object = boost::json::object;
    using result = outcome<boost::json::value>;

    void add_bridge_methods();
    void add_port_methods();
    void add_mac_methods();
    void add_multicast_methods();
    void add_tree_methods();
    void add_xen_methods();
    void add_binding_methods();
    void add_endpoint_methods();
    void add_option_methods();
    void add_flow_methods();
    void add_group_methods();
    void add_capture_methods();
    void add_mirror_methods();
    void add_shaper_methods();
    void add_acl_methods();
    void add_connection_methods();
    void add_config_methods();
    void add_event_methods();
    void add_queue_methods();
    void add_other_methods();

    result bridge_add(const object& p);
    result bridge_del(const object& p);
    result bridge_set(const object& p);
    result port_add(const object& p);
    result port_del(const object& p);
    result port_rename(const object& p);
    result port_set(const object& p);
    result mac_list(const object& p) const;
    result mac_flush(const object& p);
    result mcast_list(const object& p) const;
    result mcast_flush(const object& p);
    result mac_add(const object& p);
    result mac_del(const object& p);
    result xen_adopt(const object& p);
    result xen_release(const object& p);
    result xen_check(const object& p) const;
    result xen_list() const;
    result binding_add(const object& p);
    result binding_del(const object& p);
    result binding_list(const object& p) const;
    result address_add(const object& p);
    result address_del(const object& p);
    result address_list() const;
    result route_add(const object& p);
    result route_del(const object& p);
    result route_list() const;
    result neighbour_list(const object& p) const;
    result neighbour_flush(const object& p);
    result option_add(const object& p);
    result option_del(const object& p);
    result option_list(const object& p) const;
    result flow_change_all(const object& p, flow_command command);
    result flow_replace(const object& p);
    result flow_diff(const object& p) const;
    result flow_list(const object& p) const;
    result flow_top_list(const object& p);
    result flow_begin(const object& p);
    result flow_put(const object& p);
    result flow_commit(const object& p);
    result group_change_all(const object& p, group_command command);
    result group_list(const object& p) const;
    result meter_change_all(const object& p, meter_command command);
    result meter_list(const object& p) const;
    result trace_frame(const object& p) const;
    result cache_stats() const;
    result capture(const object& p, rpc::takeover& then);
    result capture_result(const object& p) const;
    result mirror_add(const object& p);
    result mirror_del(const object& p);
    result mirror_list_all() const;
    result shaper_set(const object& p);
    result shaper_del(const object& p);
    result shaper_list(const object& p) const;
    result acl_put(const object& p);
    result acl_del(const object& p);
    result acl_list_all() const;
    result acl_show(const object& p) const;
    result acl_attach(const object& p, bool attaches);
    result connection_list(const object& p) const;
    result connection_flush(const object& p) const;
    result connection_stats() const;
    result connection_limit(const object& p) const;
    result config_begin();
    result config_put(const object& p);
    result config_compare(const object& p, bool applies);
    result events(const object& p) const;
    static result set_log_level(const object& p);
    result stats(const object& p);
    result drops(const object& p) const;
    result queue_list(const object& p) const;
    result queue_pin(const object& p);
    result queue_unpin(const object& p);
    result queue_balance();
    result worker_list() const;
    result version() const;

    [[nodiscard]] boost::json::object describe(const virtual_switch::bridge& b) const;
    [[nodiscard]] boost::json::object describe(const virtual_switch::port& p) const;
    // The same of several, with who was seen behind each.
    [[nodiscard]] boost::json::array
    describe_all(const std::vector<const virtual_switch::port*>& ports) const;
    // The same of one that was made or changed by these parameters, with warnings about that.
    [[nodiscard]] boost::json::object describe_changed(const virtual_switch::port& p,
                                                       const object& parameters) const;
    [[nodiscard]] outcome<const virtual_switch::port*> shaped_port(const object& p) const;
    [[nodiscard]] outcome<std::vector<const virtual_switch::port*>> chosen(const object& p) const;

    // Flows that come in more than one request.
    struct open_bundle {
        std::string bridge;
        bridge_flows::bundle changes;
        client_id client; // who began it, and alone may go on
        std::chrono::steady_clock::time_point used;
    };
    static constexpr std::size_t most_bundles = 8;
    static constexpr std::chrono::minutes patience{1}; // with one that nothing is put into
    [[nodiscard]] outcome<const virtual_switch::bridge*> flow_bridge(const object& p) const;
    [[nodiscard]] port_names shown_names(const std::string& bridge, const object& p) const;
    [[nodiscard]] outcome<void> put_flows(const virtual_switch::bridge& b,
                                          bridge_flows::bundle& bundle, const object& p,
                                          flow_command command) const;
    [[nodiscard]] static result commit(const virtual_switch::bridge& b,
                                       bridge_flows::bundle bundle);
    [[nodiscard]] outcome<open_bundle*> find_bundle(const object& p);

    virtual_switch& switch_;
    xen_adoption& adoption_;
    capture_list& captures_;
    mirror_list& mirrors_;
    acl_list acls_;
    host_facts facts_;
    // A document that comes in more than one request.
    struct upload {
        std::string text;
        client_id client; // who began it, and alone may go on
    };
    static constexpr std::size_t most_uploads = 4;
    std::map<std::int64_t, upload> uploads_;      // none of a client that is gone
    std::map<std::int64_t, open_bundle> bundles_; // likewise
    std::int64_t last_bundle_{0};
    static constexpr std::size_t most_tops = 8;
    std::map<std::pair<client_id, std::string>, flow_top> tops_; // by bridge; likewise
    std::chrono::steady_clock::time_point start_{std::chrono::steady_clock::now()};
    control::rpc rpc_{methods()};
    control::configuration config_{switch_, acls_, mirrors_, adoption_, rpc_};
};

} // namespace strait::control
