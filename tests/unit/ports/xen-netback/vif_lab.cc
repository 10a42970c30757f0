// SPDX-License-Identifier: BSD-3-Clause
#include "tests/unit/ports/xen-netback/vif_lab.hh"

#include <stdexcept>
#include <variant>

namespace strait::xen::test {

using simulated::simulated_guest;
using simulated::tool_stack;

namespace {

const std::string mac = "00:16:3e:00:00:01";

void must(const ports::result<void>& r)
{
    if (r.has_error()) {
        throw std::runtime_error{r.error().message};
    }
}

} // namespace

vif_lab::vif_lab(std::uint16_t id, simulated::vif_options o, vif_settings settings)
    : domain{id},
      front_path{tool_stack::frontend_path(domain, 0)},
      back_path{tool_stack::backend_path(domain, 0)},
      tools{lab_.tools()},
      tool_options{std::move(o)},
      settings_{std::move(settings)}
{
    constexpr std::uint32_t grants = 32'768;
    constexpr std::uint32_t pages = 16 * 520;
    must(tools->create_domain(domain, "guest", {grants, pages}));
    must(tools->add_vif(domain, 0, mac, tool_options));
    guest = lab_.guest(domain, {grants, pages});
    serve();
}

vif_lab::~vif_lab()
{
    driver.reset();
    vif_->detach();
}

void vif_lab::serve()
{
    hypervisor = lab_.hypervisor();
    queue = std::make_unique<xen::queue>();
    vif_ = std::make_unique<vif>(vif_id{domain, 0}, settings_, *hypervisor, rcu, *queue);
    back();
}

void vif_lab::back()
{
    while (hypervisor->store().next_event()) {}
    if (!vif_->evaluate()) {
        throw std::runtime_error{"the store does not answer"};
    }
    (void)vif_->look();
}

void vif_lab::front()
{
    while (guest->store().next_event()) {}
    if (driver) {
        must(driver->follow());
    }
}

void vif_lab::settle()
{
    std::string before;
    std::string now;
    do {
        before = now;
        back();
        front();
        now = back_state() + "/" + front_state();
    } while (now != before);
}

bool vif_lab::connect(netfront_options o)
{
    driver.reset();
    driver = std::make_unique<netfront>(*guest, o);
    must(driver->start());
    settle();
    return driver->carrier() && up();
}

void vif_lab::restart()
{
    worker.burst->clear();
    vif_->detach();
    vif_.reset();
    queue.reset();
    hypervisor.reset();
    serve();
}

void vif_lab::kill_guest()
{
    driver.reset();
    guest.reset();
}

std::string vif_lab::get(const std::string& path)
{
    const auto value = tools->store().read(path);
    return value.has_value() && *value ? **value : "(none)";
}

void vif_lab::set(const std::string& path, const std::string& value)
{
    must(tools->store().write(path, value));
}

std::string vif_lab::detail(std::string_view name) const
{
    for (const auto& [key, value] : vif_->details()) {
        if (key != name) {
            continue;
        }
        if (const auto* const text = std::get_if<std::string>(&value)) {
            return *text;
        }
        if (const auto* const truth = std::get_if<bool>(&value)) {
            return *truth ? "yes" : "no";
        }
        if (const auto* const n = std::get_if<std::int64_t>(&value)) {
            return std::to_string(*n);
        }
        std::string all;
        for (const std::string& word : std::get<std::vector<std::string>>(value)) {
            all += (all.empty() ? "" : ", ") + word;
        }
        return all;
    }
    return "";
}

std::vector<frame> vif_lab::poll()
{
    std::vector<frame> all;
    worker.burst->clear();
    if (queue->receive(*worker.burst, worker.context()) == ports::rx_queue::poll::taken) {
        for (const auto& p : worker.burst->packets()) {
            all.push_back(strait::test::bytes_of(p));
        }
        queue->release(*worker.burst, worker.context());
    }
    worker.notifications.flush();
    return all;
}

void vif_lab::transmit(const std::vector<frame>& frames)
{
    std::vector<std::unique_ptr<strait::test::borrowed_packet>> lent;
    std::vector<dataplane::packet*> list;
    for (const frame& f : frames) {
        lent.push_back(std::make_unique<strait::test::borrowed_packet>(f));
        list.push_back(&lent.back()->get());
    }
    queue->transmit(list, worker.context());
    worker.notifications.flush();
}

testing::AssertionResult vif_lab::passes()
{
    static std::uint8_t seed = 0;
    for (std::size_t i = 0; i < driver->queues().size(); ++i) {
        simulated::netfront_queue& q = driver->queue(i);
        const frame sent = make_frame("02:00:00:00:00:01", mac, 1000, ++seed);
        if (!q.send({.bytes = as_bytes(sent)})) {
            return testing::AssertionFailure() << "queue " << i << " has no room";
        }
        q.publish_sent();
        if (poll() != std::vector<frame>{sent}) {
            return testing::AssertionFailure() << "nothing came by queue " << i;
        }
        q.reap();
    }
    const frame sent = make_frame(mac, "02:00:00:00:00:01", 1000, ++seed);
    transmit({sent});
    std::vector<frame> got;
    for (const auto& q : driver->queues()) {
        q->receive(10,
                   [&](const simulated::received_frame& f) { got.push_back(to_frame(f.bytes)); });
    }
    if (got != std::vector<frame>{sent}) {
        return testing::AssertionFailure() << got.size() << " frames were received instead of one";
    }
    if (const std::string v = driver->violation(); !v.empty()) {
        return testing::AssertionFailure() << v;
    }
    return testing::AssertionSuccess();
}

} // namespace strait::xen::test
