// SPDX-License-Identifier: BSD-3-Clause
// A virtual machine's folder in the run folder, which registers it: what it was started with, its
// sockets, its log, and how it ended. strait-vmm and straitctl share it; the daemon does not know
// it.
#pragma once

#include "control/client.hh"
#include "dataplane/file_descriptor.hh"
#include "ports/error.hh"

#include <boost/json/object.hpp>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace strait::control {

struct vm_end {
    std::string how; // a sentence's end that begins with "it"
    bool well;       // as its guest, or who stopped it, wanted
};

class vm_folder {
public:
    // Nothing is made yet.
    vm_folder(const std::string& run_dir, std::string name);

    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    [[nodiscard]] const std::string& path() const noexcept { return path_; }
    [[nodiscard]] std::string config() const { return path_ + "/config.json"; }
    [[nodiscard]] std::string log() const { return path_ + "/log"; }
    // Locked while the machine's process is there, which it names (vm_process.hh).
    [[nodiscard]] std::string process() const { return path_ + "/process"; }
    // Sockets have a folder of their own, which is all that a jailed VMM needs to see, and may be
    // its user's: the machine's and its port's.
    [[nodiscard]] std::string sockets() const { return path_ + "/sock"; }
    [[nodiscard]] std::string control() const { return sockets() + "/control"; }
    [[nodiscard]] std::string console() const { return sockets() + "/console"; }
    [[nodiscard]] std::string net() const { return sockets() + "/net"; }

    [[nodiscard]] bool exists() const;
    // Makes it if need be, and locks it; it stays locked until the descriptor goes. Refused while
    // another straitctl has the lock; one that removes it meanwhile is no reason.
    [[nodiscard]] ports::result<dataplane::file_descriptor> make_and_lock() const;
    [[nodiscard]] ports::result<dataplane::file_descriptor> lock() const;
    [[nodiscard]] bool is_locked() const;
    // Puts aside what a machine left, and makes the folder of the next one's sockets.
    [[nodiscard]] ports::result<void> prepare() const;
    void forget_last() const; // what was put aside
    // The next one is not to be: the folder is as it was, or gone if there was nothing in it.
    void restore() const;
    [[nodiscard]] ports::result<void> give_sockets_to(uid_t user, gid_t group) const;
    [[nodiscard]] ports::result<void> write_config(const boost::json::object& parameters) const;
    void remove() const; // with all that is in it

    [[nodiscard]] service_address service(std::chrono::seconds patience) const;
    // How its process ended. Nothing: it has not, or nobody has said so.
    [[nodiscard]] std::optional<vm_end> end() const;
    [[nodiscard]] std::string last_log_line() const;

    // Its state as `vm list` has it. Asks the machine.
    [[nodiscard]] boost::json::object look() const;

private:
    // Nothing: it is not there, or was removed meanwhile.
    [[nodiscard]] ports::result<std::optional<dataplane::file_descriptor>> lock_if_there() const;

    std::string name_;
    std::string path_;
};

// Where the machine's folder has how the process ended: "exited STATUS", or another word and a
// signal's name, as systemd has them.
inline constexpr std::string_view end_file = "end";

// Of a run folder's machines, in order. An error: there is no such folder, or it cannot be read.
[[nodiscard]] ports::result<std::vector<std::string>> vm_names(const std::string& run_dir);

} // namespace strait::control
