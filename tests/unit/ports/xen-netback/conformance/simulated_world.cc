// SPDX-License-Identifier: BSD-3-Clause
// The simulated hypervisor, with a guest as the other domain.
#include "world.hh"

#include "lab.hh"

#include <map>
#include <stdexcept>

namespace strait::xen::conformance {
namespace {

using namespace simulated;

class guest final : public peer {
public:
    explicit guest(std::unique_ptr<simulated_guest> g) : guest_{std::move(g)} {}

    [[nodiscard]] domain_id domain() const override { return guest_->own_domain(); }
    [[nodiscard]] page grant(domain_id to, bool only_read) override
    {
        std::byte* const memory = guest_->allocate().value();
        return {memory, guest_->grant(to, memory, only_read).value()};
    }
    [[nodiscard]] bool revoke(const page& p) override
    {
        if (!guest_->revoke(p.reference)) {
            return false;
        }
        guest_->free(p.memory);
        return true;
    }
    [[nodiscard]] offer offer_channel(domain_id to) override
    {
        auto offered = guest_->offer(to).value();
        return {offered.port, std::move(offered.end)};
    }
    [[nodiscard]] xen::store& store() override { return guest_->store(); }
    [[nodiscard]] std::string folder() const override { return "/local/domain/1/data"; }

private:
    std::unique_ptr<simulated_guest> guest_;
};

class simulated_world final : public world {
public:
    simulated_world()
    {
        constexpr domain_id its{1};
        if (lab_.tools()->create_domain(its, "peer").has_error()) {
            throw std::runtime_error{"the simulator makes no domain"};
        }
        guest_ = std::make_unique<guest>(lab_.guest(its, {}));
        hypervisor_ = lab_.hypervisor();
        if (hypervisor_->attach(its).has_error()) {
            throw std::runtime_error{"the domain's memory cannot be had"};
        }
    }
    [[nodiscard]] hypervisor& ours() override { return *hypervisor_; }
    [[nodiscard]] peer& theirs() override { return *guest_; }

private:
    test::lab lab_;
    std::unique_ptr<guest> guest_;
    std::unique_ptr<simulated_hypervisor> hypervisor_;
};

} // namespace

std::unique_ptr<world> make_world()
{
    return std::make_unique<simulated_world>();
}

} // namespace strait::xen::conformance
