// SPDX-License-Identifier: BSD-3-Clause
// Of each kind: how its records are read from the switch, brought into one form, and what calls
// change and remove what they say. For config_kinds.cc alone.
#pragma once

#include "control/config_kinds.hh"

#include <boost/json/object.hpp>

#include <array>
#include <functional>
#include <string_view>
#include <vector>

namespace strait::control {

// As port.set has them.
inline constexpr std::array<std::string_view, 3> storm_limit_names{
    "storm_broadcast", "storm_multicast", "storm_unknown_unicast"};

using config_sink = std::function<void(boost::json::object record)>;

void list_bridges(const config_sources& from, const config_sink& take);
void list_ports(const config_sources& from, const config_sink& take);
void list_classes(const config_sources& from, const config_sink& take);
void list_pins(const config_sources& from, const config_sink& take);
void list_addresses(const config_sources& from, const config_sink& take);
void list_local_ports(const config_sources& from, const config_sink& take);
void list_adopted_ports(const config_sources& from, const config_sink& take);
void list_routes(const config_sources& from, const config_sink& take);
void list_macs(const config_sources& from, const config_sink& take);
void list_acls(const config_sources& from, const config_sink& take);
void list_attachments(const config_sources& from, const config_sink& take);
void list_bindings(const config_sources& from, const config_sink& take);
void list_ct_limits(const config_sources& from, const config_sink& take);
void list_options(const config_sources& from, const config_sink& take);
void list_adoptions(const config_sources& from, const config_sink& take);
void list_mirrors(const config_sources& from, const config_sink& take);

[[nodiscard]] boost::json::object normal_bridge(const boost::json::object& given);
[[nodiscard]] boost::json::object normal_port(const boost::json::object& given);
[[nodiscard]] boost::json::object normal_class(const boost::json::object& given);
[[nodiscard]] boost::json::object normal_pin(const boost::json::object& given);
[[nodiscard]] boost::json::object normal_address(const boost::json::object& given);
[[nodiscard]] boost::json::object normal_route(const boost::json::object& given);
[[nodiscard]] boost::json::object normal_mac(const boost::json::object& given);
[[nodiscard]] boost::json::object normal_acl(const boost::json::object& given);
[[nodiscard]] boost::json::object normal_attachment(const boost::json::object& given);
[[nodiscard]] boost::json::object normal_binding(const boost::json::object& given);
[[nodiscard]] boost::json::object normal_ct_limit(const boost::json::object& given);
[[nodiscard]] boost::json::object normal_option(const boost::json::object& given);
[[nodiscard]] boost::json::object normal_adoption(const boost::json::object& given);
[[nodiscard]] boost::json::object normal_mirror(const boost::json::object& given);

using config_calls = std::vector<config_call>;

[[nodiscard]] config_calls change_bridge(const boost::json::object& from,
                                         const boost::json::object& to);
[[nodiscard]] config_calls change_port(const boost::json::object& from,
                                       const boost::json::object& to);
[[nodiscard]] config_calls change_class(const boost::json::object& from,
                                        const boost::json::object& to);
[[nodiscard]] config_calls change_pin(const boost::json::object& from,
                                      const boost::json::object& to);
[[nodiscard]] config_calls change_acl(const boost::json::object& from,
                                      const boost::json::object& to);
[[nodiscard]] config_calls change_attachment(const boost::json::object& from,
                                             const boost::json::object& to);
[[nodiscard]] config_calls change_binding(const boost::json::object& from,
                                          const boost::json::object& to);
[[nodiscard]] config_calls change_ct_limit(const boost::json::object& from,
                                           const boost::json::object& to);
[[nodiscard]] config_calls change_adoption(const boost::json::object& from,
                                           const boost::json::object& to);

[[nodiscard]] config_call remove_bridge_call(const config_sources& from,
                                             const boost::json::object& record);
[[nodiscard]] config_call remove_port_call(const config_sources& from,
                                           const boost::json::object& record);
[[nodiscard]] config_call remove_class_call(const config_sources& from,
                                            const boost::json::object& record);
[[nodiscard]] config_call remove_pin_call(const config_sources& from,
                                          const boost::json::object& record);
[[nodiscard]] config_call remove_address_call(const config_sources& from,
                                              const boost::json::object& record);
[[nodiscard]] config_call reset_local_port_call(const config_sources& from,
                                                const boost::json::object& record);
[[nodiscard]] config_call remove_route_call(const config_sources& from,
                                            const boost::json::object& record);
[[nodiscard]] config_call remove_mac_call(const config_sources& from,
                                          const boost::json::object& record);
[[nodiscard]] config_call remove_acl_call(const config_sources& from,
                                          const boost::json::object& record);
[[nodiscard]] config_call remove_attachment_call(const config_sources& from,
                                                 const boost::json::object& record);
[[nodiscard]] config_call remove_binding_call(const config_sources& from,
                                              const boost::json::object& record);
[[nodiscard]] config_call remove_ct_limit_call(const config_sources& from,
                                               const boost::json::object& record);
[[nodiscard]] config_call remove_option_call(const config_sources& from,
                                             const boost::json::object& record);
[[nodiscard]] config_call remove_adoption_call(const config_sources& from,
                                               const boost::json::object& record);
[[nodiscard]] config_call remove_mirror_call(const config_sources& from,
                                             const boost::json::object& record);

} // namespace strait::control
