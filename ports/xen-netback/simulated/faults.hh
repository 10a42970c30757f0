// SPDX-License-Identifier: BSD-3-Clause
// What shall go wrong in a simulated hypervisor: rules, their form in JSON, and the decision for
// one operation. Deterministic: the n-th operation that a rule matches meets the same fate under
// the same seed. Who asks, and acts on the answer, are the server and each process's copy().
#pragma once

#include "ports/xen-netback/simulated/domain_memory.hh"

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace strait::xen::simulated {

enum class operation : std::uint8_t { copy, map, bind, commit };
enum class effect : std::uint8_t {
    fail,    // not done, and says so
    pretend, // not done, but says it was (copy)
    deny,    // done, but says it was not (copy)
    delay    // done, but later (copy, which spins; map, bind)
};

struct fault_rule {
    operation on{operation::copy};
    effect what{effect::fail};
    // Which ones; a copy matches by either side. Nothing: all.
    std::optional<domain_id> domain{}; // that granted, or offered the channel, or commits
    std::uint32_t first_reference{0};  // of grants, or the event port
    std::uint32_t last_reference{std::numeric_limits<std::uint32_t>::max()};
    // Of those that match, the first `skip` are spared, then `count` are chances of `probability`.
    std::uint64_t skip{0};
    std::uint64_t count{std::numeric_limits<std::uint64_t>::max()};
    double probability{1};                            // 0 to 1
    grant_status status{grant_status::general_error}; // for fail and deny; not done
    std::chrono::microseconds delay{0};               // for delay; up to 60 s
    bool operator==(const fault_rule&) const = default;
};

// Which of a client's events that wait to be sent become one. Never those of "@releaseDomain".
enum class merging : std::uint8_t {
    none,
    same, // of one path and token, as in xenstored
    token // of one token: the latest path stays
};

struct faults {
    std::uint64_t seed{1};
    std::vector<fault_rule> rules{};          // the first that strikes decides; at most 64
    std::chrono::milliseconds watch_delay{0}; // 0 to 60,000
    merging watch_merging{merging::same};
    bool operator==(const faults&) const = default;
};

// {"seed": 1, "watch_delay_ms": 20, "watch_merging": "none|same|token", "rules": [{"on":
// "copy|map|bind|commit", "effect": "fail|pretend|deny|delay", "domain": 1, "reference": 9 or
// [8, 20], "skip": 0, "count": 1, "probability": 0.5, "status": "general_error" or -1,
// "delay_us": 100}]}; all optional but "on". Errors name the member that is wrong.
[[nodiscard]] result<faults> parse_faults(std::string_view json);
[[nodiscard]] std::string to_json(const faults& f);

// Faults in force, with what they have counted. strike() from any thread, at once; no allocation.
class fault_plan {
public:
    explicit fault_plan(faults f);
    fault_plan(const fault_plan&) = delete;
    fault_plan& operator=(const fault_plan&) = delete;

    struct target {
        domain_id domain;
        std::uint32_t reference;
    };
    // The rule that strikes this operation, or null; the targets are alternatives.
    [[nodiscard]] const fault_rule* strike(operation on, std::span<const target> targets) noexcept;
    [[nodiscard]] const faults& settings() const noexcept { return faults_; }
    // Whether any rule is about it.
    [[nodiscard]] bool concerns(operation on) const noexcept;

    static constexpr std::size_t most_rules = 64;

private:
    faults faults_;
    std::array<std::atomic<std::uint64_t>, most_rules> matched_{};
};

} // namespace strait::xen::simulated
