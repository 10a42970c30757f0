// SPDX-License-Identifier: BSD-3-Clause
// What KVM is asked for on behalf of a guest.
#include "vmm/kvm.hh"

#include "vmm/event.hh"
#include "vmm/memory.hh"
#include "vmm/platform.hh"

#include <algorithm>
#include <string>

#include <gtest/gtest.h>

namespace strait::vmm {
namespace {

// A guest may lay the BARs of two devices over each other, again and again.
TEST(kvm, says_little_of_addresses_that_a_guest_has_had_watched_twice)
{
    auto device = kvm::open_device();
    if (device.has_error()) {
        GTEST_SKIP() << device.error().message;
    }
    const memory ram = memory::make({.bytes = 1 << 20}).value();
    auto machine = kvm::make(device->get(), ram);
    ASSERT_FALSE(machine.has_error()) << machine.error().message;
    const event first = event::make().value();
    const event second = event::make().value();
    testing::internal::CaptureStderr();
    machine->connect_address(platform::pci_window, first.fd());
    constexpr int times = 1000;
    for (int i = 0; i < times; ++i) {
        machine->connect_address(platform::pci_window, second.fd());
        machine->disconnect_address(platform::pci_window, second.fd());
    }
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_NE(said.find("notification address"), std::string::npos);
    EXPECT_LT(std::ranges::count(said, '\n'), times / 10);
}

} // namespace
} // namespace strait::vmm
