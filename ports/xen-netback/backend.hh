// SPDX-License-Identifier: BSD-3-Clause
// All vifs of this domain: one thread that hears of changes in the store, looks after each vif that
// a port has, and tells which there are.
#pragma once

#include "ports/port.hh"
#include "ports/xen-netback/hypervisor.hh"
#include "ports/xen-netback/vif.hh"

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace strait::xen {

// A vif that the tool stack has made, whoever serves it.
struct found_vif {
    vif_id id;
    std::string bridge; // as in the guest's configuration; may be empty
    std::string mac;
    std::string script;   // that the tool stack runs for it: its name, without the folder
    std::uint32_t mtu{0}; // 0: the configuration says nothing of it
    bool operator==(const found_vif&) const = default;
};

// The script that ships with the switch. Whose devices have it, those are for us to answer for.
inline constexpr const char* own_script = "vif-strait";

class backend {
public:
    // Begins to watch the store.
    [[nodiscard]] static result<std::unique_ptr<backend>> open(std::unique_ptr<hypervisor> h);
    ~backend();
    backend(const backend&) = delete;
    backend& operator=(const backend&) = delete;

    [[nodiscard]] hypervisor& get_hypervisor() const noexcept { return *hypervisor_; }

    // From the control thread; each returns when it is done. A vif is looked after between the
    // first two. There is no other of the same id.
    void add(vif& v);
    void remove(vif& v);
    // Of one that was removed: its guest is told that the device is closed.
    void retire(vif& v);

    // `on_change` is called, from the backend's thread, with every vif there is: at once, and
    // whenever that has changed. Null ends it; no call is under way when this has returned.
    using listener = std::function<void(const std::vector<found_vif>&)>;
    void listen(listener on_change);

    // Of a vif with our script that nobody is going to serve: the tool stack, which waits for the
    // device's state, goes on to its script, and that tells why.
    void decline(vif_id id);

private:
    using clock = std::chrono::steady_clock;
    // What is known of one vif that a port has.
    struct served {
        vif* device;
        bool changed{true};
        clock::time_point not_before; // a guest has its share of this thread, no more
    };

    backend(std::unique_ptr<hypervisor> h, int wake);
    void run();
    void call(const std::function<void()>& what);
    void obey();
    void hear();
    void look_for_vifs();
    [[nodiscard]] std::vector<found_vif> list_vifs();
    [[nodiscard]] std::string value(const std::string& path);
    void close_unserved(const found_vif& v, const std::string& state);
    [[nodiscard]] std::chrono::milliseconds serve();
    void wait(std::chrono::milliseconds at_most);

    const std::unique_ptr<hypervisor> hypervisor_;
    const int wake_; // eventfd

    // The thread's own.
    std::map<vif_id, served> served_;
    bool vifs_changed_{true};
    std::vector<found_vif> found_;
    listener listener_;
    bool stop_{false};

    std::mutex mutex_; // what is below
    std::deque<std::function<void()>> calls_;
    std::thread thread_;
};

} // namespace strait::xen
