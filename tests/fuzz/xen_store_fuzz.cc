// SPDX-License-Identifier: BSD-3-Clause
// A Xen vif whose front end, tool stack and store do anything, in any order. An input is a list of
// operations: a byte that says which, one of its choice, and of some a text. The store is the
// simulated hypervisor's tree, with its rights and transactions; grants and channels are this
// target's, and may fail. Whatever happened: what is mapped, bound, watched and begun belongs to a
// vif that is up, and one that is not has nothing; and a good driver is connected in the end.
#include "dataplane/packet.hh"
#include "ports/number.hh"
#include "ports/xen-netback/simulated/store_tree.hh"
#include "ports/xen-netback/vif.hh"
#include "tests/fuzz/check.hh"
#include "tests/fuzz/xen_grants.hh"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <rte_log.h>

namespace {

using namespace strait;
using namespace strait::xen;
using fuzz::check;
using simulated::access;
using simulated::permissions;
using simulated::store_tree;

constexpr domain_id guest_id{fuzz::guest_domain};
constexpr store_tree::caller back_end{1, domain_id{0}};
constexpr store_tree::caller tools{2, domain_id{0}};
constexpr store_tree::caller driver{3, guest_id};
const std::string front_path = "/local/domain/1/device/vif/0";
const std::string back_path = "/local/domain/0/backend/vif/1/0";

// The back end's connection to the tree. Something can happen before any of its calls.
class tree_store final : public store {
public:
    explicit tree_store(store_tree& tree) : tree_{tree} {}

    result<std::optional<std::string>> read(const std::string& path, transaction t) override
    {
        return answer<std::optional<std::string>>([&] { return tree_.read(back_end, path, t); });
    }
    result<std::optional<std::vector<std::string>>> list(const std::string& path,
                                                         transaction t) override
    {
        return answer<std::optional<std::vector<std::string>>>(
            [&] { return tree_.list(back_end, path, t); });
    }
    result<void> write(const std::string& path, std::string_view value, transaction t) override
    {
        return answer<void>([&] { return tree_.write(back_end, path, value, t); });
    }
    result<void> remove(const std::string& path, transaction t) override
    {
        if (fails()) {
            return refused();
        }
        (void)tree_.remove(back_end, path, t);
        return {};
    }
    result<transaction> begin() override
    {
        auto begun = answer<transaction>([&] { return tree_.begin(back_end); });
        open += begun.has_value() ? 1U : 0U;
        return begun;
    }
    result<bool> commit(transaction t) override
    {
        if (fails()) {
            tree_.abandon(back_end, t).value();
            --open;
            return refused();
        }
        const auto done = tree_.commit(back_end, t);
        --open;
        return done.has_value();
    }
    void abandon(transaction t) noexcept override
    {
        (void)tree_.abandon(back_end, t);
        --open;
    }
    result<void> watch(const std::string& path, const std::string& token) override
    {
        auto set = answer<void>([&] { return tree_.watch(back_end, path, token); });
        if (set.has_value()) {
            check(watched.emplace(path, token).second);
        }
        return set;
    }
    void unwatch(const std::string& path, const std::string& token) noexcept override
    {
        (void)tree_.unwatch(back_end, path, token);
        watched.erase({path, token});
    }
    [[nodiscard]] int descriptor() const noexcept override { return -1; }
    [[nodiscard]] std::optional<watch_event> next_event() override { return std::nullopt; }

    // Before the call after so many others.
    void happens(std::size_t calls, std::function<void()> what)
    {
        countdown_ = calls;
        what_ = std::move(what);
    }
    void fail(std::size_t calls, std::size_t count)
    {
        first_failure_ = calls;
        failures_ = count;
    }
    void calm()
    {
        what_ = nullptr;
        failures_ = 0;
    }

    [[nodiscard]] bool is_about_to_act() const { return what_ || failures_ > 0; }

    std::size_t open{0}; // transactions
    std::set<std::pair<std::string, std::string>> watched;

private:
    [[nodiscard]] static ports::error refused() { return ports::error{"the store fails"}; }
    [[nodiscard]] bool fails()
    {
        if (what_ && countdown_-- == 0) {
            std::exchange(what_, nullptr)();
        }
        if (failures_ == 0) {
            return false;
        }
        if (first_failure_ > 0) {
            --first_failure_;
            return false;
        }
        --failures_;
        return true;
    }
    template <typename T, typename Call>
    [[nodiscard]] result<T> answer(Call&& call)
    {
        if (fails()) {
            return refused();
        }
        auto done = call();
        if (done.has_value()) {
            if constexpr (std::is_void_v<T>) {
                return {};
            } else {
                return T{std::move(*done)};
            }
        }
        if constexpr (!std::is_void_v<T> && !std::is_same_v<T, transaction>) {
            if (done.error() == boost::system::errc::no_such_file_or_directory) {
                return T(); // there is no such node
            }
        }
        return ports::error{done.error().message()};
    }

    store_tree& tree_;
    std::size_t countdown_{0};
    std::function<void()> what_;
    std::size_t first_failure_{0};
    std::size_t failures_{0};
};

// Mappings are pages of their own, which take the granted ones' bytes and give them back in the
// end. Ports 1 to 40 are offered, each to be bound once at a time.
class machine final : public fuzz::grants {
public:
    machine() : tree{[](store_tree::client /*c*/, const watch_event& /*e*/) {}}, store_{tree} {}
    [[nodiscard]] result<std::unique_ptr<mapped_grants>>
    map(domain_id d, std::span<const grant_ref> pages) override
    {
        check(d == guest_id && !pages.empty());
        if (fail_in && (*fail_in)-- == 0) {
            fail_in.reset();
            return ports::error{"cannot be mapped"};
        }
        for (const grant_ref r : pages) {
            if (!allows(static_cast<std::uint32_t>(r), true)) {
                return ports::error{"not granted"};
            }
        }
        return std::make_unique<mapping>(*this, pages);
    }
    [[nodiscard]] result<std::unique_ptr<event_channel>> bind(domain_id d, event_port port) override
    {
        const auto n = static_cast<std::uint32_t>(port);
        check(d == guest_id);
        if (fail_in && (*fail_in)-- == 0) {
            fail_in.reset();
            return ports::error{"cannot be bound"};
        }
        constexpr std::uint32_t offered = 40;
        if (n == 0 || n > offered || !bound.insert(n).second) {
            return ports::error{"not offered"};
        }
        return std::make_unique<channel>(*this, n);
    }
    [[nodiscard]] xen::store& store() noexcept override { return store_; }
    [[nodiscard]] tree_store& own_store() { return store_; }

    class mapping final : public mapped_grants {
    public:
        mapping(machine& m, std::span<const grant_ref> pages)
            : machine_{m},
              pages_{pages.begin(), pages.end()},
              bytes_{std::make_unique<std::byte[]>(pages.size() * page_size)}
        {
            for (std::size_t i = 0; i < pages_.size(); ++i) {
                std::memcpy(bytes_.get() + i * page_size, granted(i), page_size);
            }
            machine_.mapped.push_back(this);
        }
        ~mapping() override
        {
            for (std::size_t i = 0; i < pages_.size(); ++i) {
                std::memcpy(granted(i), bytes_.get() + i * page_size, page_size);
            }
            std::erase(machine_.mapped, this);
        }
        mapping(const mapping&) = delete;
        mapping& operator=(const mapping&) = delete;
        [[nodiscard]] void* base() const noexcept override { return bytes_.get(); }
        // By the guest, anywhere in it.
        void write(std::size_t at, std::uint16_t value)
        {
            std::memcpy(bytes_.get() + at % (pages_.size() * page_size - 1), &value, sizeof value);
        }

    private:
        [[nodiscard]] std::byte* granted(std::size_t i) const
        {
            return machine_.bytes(static_cast<std::uint32_t>(pages_[i]) % fuzz::page_count);
        }
        machine& machine_;
        const std::vector<grant_ref> pages_;
        const std::unique_ptr<std::byte[]> bytes_;
    };
    class channel final : public fuzz::quiet_channel {
    public:
        channel(machine& m, std::uint32_t port) : machine_{m}, port_{port} {}
        ~channel() override { machine_.bound.erase(port_); }
        channel(const channel&) = delete;
        channel& operator=(const channel&) = delete;

    private:
        machine& machine_;
        const std::uint32_t port_;
    };

    store_tree tree;
    std::vector<mapping*> mapped;
    std::set<std::uint32_t> bound;
    std::optional<std::size_t> fail_in; // mappings and bindings from now

private:
    tree_store store_;
};

// What is left of an input; operations that it has no more bytes for find zeros.
class input {
public:
    explicit input(std::span<const std::uint8_t> bytes) : left_{bytes} {}
    [[nodiscard]] bool empty() const { return left_.empty(); }
    [[nodiscard]] std::uint8_t byte()
    {
        if (left_.empty()) {
            return 0;
        }
        const std::uint8_t b = left_.front();
        left_ = left_.subspan(1);
        return b;
    }
    [[nodiscard]] std::uint16_t word()
    {
        const std::uint8_t low = byte();
        return static_cast<std::uint16_t>(low | byte() << 8U);
    }
    [[nodiscard]] std::string text()
    {
        const std::size_t size = std::min<std::size_t>(byte(), left_.size());
        const std::string t{reinterpret_cast<const char*>(left_.data()), size};
        left_ = left_.subspan(size);
        return t;
    }

private:
    std::span<const std::uint8_t> left_;
};

constexpr std::array keys{"state",
                          "request-rx-copy",
                          "tx-ring-ref",
                          "rx-ring-ref",
                          "event-channel",
                          "event-channel-tx",
                          "event-channel-rx",
                          "multi-queue-num-queues",
                          "queue-0/tx-ring-ref",
                          "queue-0/rx-ring-ref",
                          "queue-0/event-channel",
                          "queue-1/tx-ring-ref",
                          "queue-1/rx-ring-ref",
                          "queue-1/event-channel-tx",
                          "queue-1/event-channel-rx",
                          "ctrl-ring-ref",
                          "event-channel-ctrl",
                          "xdp-headroom",
                          "feature-sg",
                          "feature-gso-tcpv4",
                          "feature-gso-tcpv6",
                          "feature-no-csum-offload",
                          "feature-ipv6-csum-offload",
                          "request-multicast-control",
                          "queue-0",
                          "queue-1",
                          "backend",
                          "unknown"};
constexpr std::array back_keys{"state",          "online", "rate",   "mtu",
                               "hotplug-status", "hash",   "carrier"};

class run {
public:
    run(machine& m, std::span<const std::uint8_t> bytes) : m_{m}, in_{bytes}
    {
        m_.reset();
        for (std::size_t i = 0; i < fuzz::page_count; ++i) {
            std::memset(m_.bytes(i), 0, page_size);
        }
        m_.fail_in.reset();
        m_.own_store().calm();
        m_.tree.introduce(guest_id);
        make_device();
        start();
        packet_.data = packet_.head.data();
        packet_.length = packet_.head_length = dataplane::head_copy;
    }
    ~run()
    {
        stop();
        (void)m_.tree.remove(tools, "/local/domain/1", transaction::none);
        (void)m_.tree.remove(tools, "/local/domain/0/backend", transaction::none);
        m_.tree.release(guest_id);
    }
    run(const run&) = delete;
    run& operator=(const run&) = delete;

    void all()
    {
        for (int i = 0; i < 200 && !in_.empty(); ++i) {
            step();
            (void)vif_->details();
        }
        end_well();
    }

private:
    void start()
    {
        queue_ = std::make_unique<queue>();
        vif_ = std::make_unique<vif>(
            vif_id{guest_id, 0}, vif_settings{.port = "vm1", .mtu = 1500, .tsc_hz = 2'000'000'000},
            m_, rcu_, *queue_);
        evaluate();
    }
    void stop()
    {
        m_.own_store().calm();
        vif_->detach();
        check(!vif_->link_up());
        check_nothing_held();
        check(m_.own_store().watched.empty());
        vif_.reset();
        queue_.reset();
    }
    void check_nothing_held()
    {
        check(m_.mapped.empty() && m_.bound.empty());
        check(queue_->takes() == dataplane::all_offloads); // of nobody's rings
    }
    void check_held()
    {
        check(m_.own_store().open == 0);
        check(m_.own_store().watched.size() <= 1);
        if (vif_->link_up()) {
            check(!m_.mapped.empty() && !m_.bound.empty());
            check(m_.mapped.size() <= max_queues + 1 && m_.bound.size() <= 2 * max_queues + 1);
        } else {
            check_nothing_held();
        }
    }
    void evaluate()
    {
        const bool quiet = !m_.own_store().is_about_to_act();
        const bool done = vif_->evaluate();
        check_held();
        check(done || !quiet);
        if (quiet && vif_->link_up()) {
            const auto state = to_number<unsigned>(read(read(back_path + "/frontend") + "/state"));
            check(state && (*state == 3 || *state == 4 || *state == 7 || *state == 8));
            check(!read(back_path + "/state").empty());
        }
    }
    void write(store_tree::caller who, const std::string& path, std::string_view value)
    {
        (void)m_.tree.write(who, path, value, transaction::none); // refused: as it may be
    }
    [[nodiscard]] std::string read(const std::string& path)
    {
        const auto value = m_.tree.read(tools, path, transaction::none);
        return value.has_value() ? *value : "";
    }
    void make_folder(const std::string& path, domain_id owner, domain_id reader)
    {
        (void)m_.tree.make_folder(tools, path, transaction::none);
        (void)m_.tree.set_permissions(tools, path,
                                      permissions{{owner, access::none}, {reader, access::read}},
                                      transaction::none);
    }
    void make_device()
    {
        make_folder(front_path, guest_id, domain_id{0});
        make_folder(back_path, domain_id{0}, guest_id);
        write(tools, back_path + "/frontend", front_path);
        write(tools, back_path + "/online", "1");
        write(tools, back_path + "/state", "1");
        write(driver, front_path + "/backend", back_path);
        write(driver, front_path + "/state", "1");
    }
    void remove_device(bool both)
    {
        (void)m_.tree.remove(tools, back_path, transaction::none);
        if (both) {
            (void)m_.tree.remove(tools, front_path, transaction::none);
        }
    }
    // Most are numbers, as most are in a folder.
    [[nodiscard]] std::string value()
    {
        const std::uint8_t kind = in_.byte();
        if (kind < 224) {
            return std::to_string(kind % 48);
        }
        return kind < 240   ? in_.text()
               : kind < 244 ? std::string(std::size_t{in_.byte()} * 9, '7')
               : kind < 248 ? std::to_string(0xffff'fff0ULL + in_.byte())
               : kind < 252 ? "-" + std::to_string(in_.byte())
                            : std::string{};
    }
    void drive(bool control_ring)
    {
        const auto set = [&](const char* key, const char* text) {
            write(driver, front_path + "/" + key, text);
        };
        (void)m_.tree.remove(driver, front_path + "/multi-queue-num-queues", transaction::none);
        set("request-rx-copy", "1");
        set("tx-ring-ref", "0");
        set("rx-ring-ref", "1");
        set("event-channel-tx", "1");
        set("event-channel-rx", "2");
        if (control_ring) {
            set("ctrl-ring-ref", "2");
            set("event-channel-ctrl", "3");
        } else {
            (void)m_.tree.remove(driver, front_path + "/ctrl-ring-ref", transaction::none);
        }
        set("state", "4");
    }
    void work()
    {
        now_ += 2'000'000'000;
        const ports::queue_context context{now_, nullptr, &counters_, &notifications_};
        burst_->clear();
        if (queue_->receive(*burst_, context) == ports::rx_queue::poll::taken) {
            queue_->release(*burst_, context);
        }
        dataplane::packet* const list[] = {&packet_};
        queue_->transmit(list, context);
        notifications_.flush();
    }
    // What the driver writes, or has gone.
    [[nodiscard]] std::function<void()> guest_change()
    {
        const std::string path = front_path + "/" + keys[in_.byte() % keys.size()];
        if (const std::uint8_t how = in_.byte(); how % 8 == 7) {
            return [this, path] { (void)m_.tree.remove(driver, path, transaction::none); };
        }
        const std::string text = value();
        return [this, path, text] { write(driver, path, text); };
    }
    // Which is trusted as far as that the front end's folder has a name that folders can have.
    void tool_stack_change()
    {
        const std::size_t which = in_.byte() % (back_keys.size() + 1);
        if (which < back_keys.size()) {
            write(tools, back_path + "/" + back_keys[which], value());
            return;
        }
        const std::array<std::string, 4> folders{front_path, "", "/local/domain/1/data", back_path};
        write(tools, back_path + "/frontend", folders[in_.byte() % folders.size()]);
    }
    void step()
    {
        switch (in_.byte() % 20) {
        case 0:
        case 1:
        case 2:
        case 3:
            guest_change()();
            break;
        case 4: // between two reads of one look
        {
            const std::size_t calls = in_.byte() % 64U;
            m_.own_store().happens(calls, guest_change());
            break;
        }
        case 5:
            tool_stack_change();
            break;
        case 6: {
            const std::uint8_t how = in_.byte();
            remove_device((how & 1U) != 0);
            if ((how & 2U) != 0) {
                evaluate();
            }
            if ((how & 4U) != 0) {
                make_device();
            }
            break;
        }
        case 7:
            write(driver, front_path + "/state", std::to_string(in_.byte() % 10));
            evaluate();
            break;
        case 8:
            drive(in_.byte() % 2 != 0);
            evaluate();
            break;
        case 9:
            stop();
            start();
            break;
        case 10: {
            const std::size_t calls = in_.byte();
            m_.own_store().fail(calls % 64, in_.byte() % 4);
            break;
        }
        case 11:
            m_.fail_in = in_.byte() % 6;
            break;
        case 12:
            m_.toggle(in_.byte());
            break;
        case 13: {
            const std::size_t which = in_.byte();
            const std::uint16_t at = in_.word();
            const std::uint16_t what = in_.word();
            if (!m_.mapped.empty()) {
                m_.mapped[which % m_.mapped.size()]->write(at, what);
            }
            break;
        }
        case 14:
            work();
            break;
        case 15: {
            (void)vif_->look();
            check_held();
            break;
        }
        case 16:
            vif_->retire();
            check_held();
            check(!vif_->link_up());
            break;
        case 17: {
            const std::uint16_t mtu = in_.word();
            vif_->set_mtu(mtu);
            vif_->set_carrier(mtu % 2 == 0);
        } break;
        case 18: // the tool stack changes the back end's folder amid its transaction
            m_.own_store().happens(in_.byte() % 64U,
                                   [this] { write(tools, back_path + "/online", "0"); });
            break;
        default:
            evaluate();
            break;
        }
    }
    // The device is made anew, and served as if nothing had been.
    void end_well()
    {
        m_.own_store().calm();
        m_.fail_in.reset();
        remove_device(true);
        evaluate();
        check(!vif_->link_up() && m_.own_store().watched.empty());
        m_.reset();
        for (std::size_t i = 0; i < fuzz::page_count; ++i) {
            std::memset(m_.bytes(i), 0, page_size);
        }
        make_device();
        evaluate();
        check(read(back_path + "/state") == "2" && read(back_path + "/feature-rx-copy") == "1");
        drive(true);
        evaluate();
        check(vif_->link_up() && read(back_path + "/state") == "4");
        check(m_.mapped.size() == 2 && m_.bound.size() == 3);
        work();
        check(!vif_->look() && vif_->link_up());
        write(driver, front_path + "/state", "6");
        evaluate();
        check(!vif_->link_up() && read(back_path + "/state") == "6");
    }

    machine& m_;
    input in_;
    dataplane::rcu_domain rcu_;
    std::unique_ptr<queue> queue_;
    std::unique_ptr<vif> vif_;
    std::unique_ptr<dataplane::burst> burst_{new dataplane::burst};
    dataplane::port_counters counters_;
    ports::notification_list notifications_;
    dataplane::packet_slot packet_{};
    std::uint64_t now_{std::uint64_t{1} << 40U};
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
    static machine& m = *new machine;
    rte_log_set_global_level(RTE_LOG_ERR); // each connection and its end are lines
    run r{m, {data, size}};
    r.all();
    return 0;
}
