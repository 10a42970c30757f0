// SPDX-License-Identifier: BSD-3-Clause
// Which of its sources a worker looks at, and when. A guest that has sent nothing for a while is
// quiet: while others are busy it is looked at now and then, so that many guests with nothing to
// say cost those that have something next to nothing. One whose packets are expensive has debts,
// and while others are busy it waits until they are paid. What a source is, and what it gives, is
// not known here.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace strait::dataplane {

class poll_order {
public:
    poll_order() = default;
    // Of as many sources as `patient` has elements. One that is not patient is looked at in every
    // iteration: what comes to it is lost if nobody does. None is quiet yet.
    poll_order(const std::vector<bool>& patient, std::uint64_t now, std::uint64_t tsc_hz)
        : awake_{patient.size()},
          quiet_after_{tsc_hz / 1'000},
          interval_{tsc_hz / 10'000},
          credit_{tsc_hz / 50'000},
          last_run_{now},
          last_look_{now}
    {
        for (std::size_t i = 0; i < patient.size(); ++i) {
            entries_.push_back({.source = i,
                                .last_given = now,
                                .waits_until = 0,
                                .debt = 0,
                                .charged_at = now,
                                .patient = patient[i]});
        }
    }

    [[nodiscard]] std::size_t quiet() const noexcept { return entries_.size() - awake_; }

    // One iteration, at `now` (TSC): calls `look` with the number of each source whose turn it is;
    // it says whether that one gave something. `busy`: something else did already. Returns whether
    // anything did.
    template <typename Look>
    bool run(std::uint64_t now, bool busy, Look&& look) noexcept
    {
        const std::size_t first_quiet = awake_; // those that become so were looked at
        bool waits = false;
        now_ = now;
        for (std::size_t i = 0; i < awake_;) {
            entry& e = entries_[i];
            if (now < e.waits_until) [[unlikely]] {
                e.last_given = now; // as far as one knows
                waits = true;
                ++waits_;
                ++i;
                continue;
            }
            looked_at_ = i;
            if (look(e.source)) {
                e.last_given = now;
                busy = true;
            } else if (e.patient && now - e.last_given > quiet_after_) {
                std::swap(e, entries_[--awake_]);
                continue; // another stands here now
            }
            ++i;
        }
        // They are in time if the next iteration, which is as long as the last, would be too late.
        const std::uint64_t next = now + (now - last_run_);
        last_run_ = now;
        if (busy && next - last_look_ < interval_) {
            return true;
        }
        last_look_ = now;
        for (std::size_t i = first_quiet; i < entries_.size(); ++i) {
            entry& e = entries_[i];
            looked_at_ = i;
            if (look(e.source)) {
                e.last_given = now;
                busy = true;
                std::swap(e, entries_[awake_++]);
            }
        }
        if (waits && !busy) {
            forgive();
        }
        return busy;
    }

    // By `look`: what it was given took so many cycles more than it should have. Of a source that
    // is not patient nothing is said.
    void charge(std::uint64_t cycles) noexcept
    {
        entry& e = entries_[looked_at_];
        if (!e.patient) {
            return;
        }
        e.debt -= std::min(e.debt, (now_ - e.charged_at) / share);
        e.debt += cycles;
        e.charged_at = now_;
        if (e.debt > credit_) {
            e.waits_until = now_ + (e.debt - credit_) * share;
        }
    }
    // How often a source was left out because of its debts, since it was asked last.
    [[nodiscard]] std::uint64_t take_waits() noexcept { return std::exchange(waits_, 0); }

private:
    // Of a busy worker's time, a source's debts are paid with one part in so many.
    static constexpr std::uint64_t share = 24;

    struct entry {
        std::size_t source;
        std::uint64_t last_given;  // TSC
        std::uint64_t waits_until; // TSC
        std::uint64_t debt;        // cycles, when it was charged last
        std::uint64_t charged_at;  // TSC
        bool patient;
    };

    // Time that nobody else wants costs nobody anything.
    void forgive() noexcept
    {
        for (entry& e : entries_) {
            e.waits_until = 0;
            e.debt = 0;
        }
    }

    std::vector<entry> entries_; // the quiet ones last
    std::size_t awake_{0};
    // In TSC cycles: what has given nothing for a millisecond is quiet, and is then looked at every
    // 100 microseconds; by a worker with nothing else to do in every iteration.
    std::uint64_t quiet_after_{0};
    std::uint64_t interval_{0};
    // 20 microseconds: a few new flows among many packets are no matter.
    std::uint64_t credit_{0};
    std::uint64_t now_{0};
    std::size_t looked_at_{0};
    std::uint64_t waits_{0};
    std::uint64_t last_run_{0};
    std::uint64_t last_look_{0};
};

} // namespace strait::dataplane
