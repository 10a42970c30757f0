// SPDX-License-Identifier: BSD-3-Clause
// The machine as its guest finds it: addresses, ports and interrupts that the device models, the
// ACPI tables and the bare-metal guest of the tests agree on.
#pragma once

#include <cstdint>

namespace strait::vmm::platform {

inline constexpr unsigned max_cpus = 32;

// Guest-physical addresses. Below 1 MiB as on a PC: conventional memory to 0x9fc00, then tables.
inline constexpr std::uint64_t conventional_end = 0x9'fc00;
inline constexpr std::uint64_t acpi_tables = 0xe'0000;  // the RSDP first; to 1 MiB
inline constexpr std::uint64_t reset_vector = 0xf'fff0; // where a PC's firmware begins, 16 bytes
inline constexpr std::uint64_t high_memory = 0x10'0000;
inline constexpr std::uint64_t pci_window = 0xc000'0000; // devices' registers, to io_apic
inline constexpr std::uint64_t pci_window_end = 0xfec0'0000;
inline constexpr std::uint64_t io_apic = 0xfec0'0000;
inline constexpr std::uint64_t local_apic = 0xfee0'0000;
inline constexpr std::uint64_t kvm_identity_map = 0xfffb'c000; // one page; KVM's, on Intel
inline constexpr std::uint64_t kvm_tss = 0xfffb'd000;          // three pages

// I/O ports.
inline constexpr std::uint16_t keyboard_command = 0x64; // writing 0xfe resets
inline constexpr std::uint8_t keyboard_reset = 0xfe;
inline constexpr std::uint16_t serial = 0x3f8; // 8 ports
inline constexpr std::uint16_t power = 0x600;  // ACPI's sleep control, sleep status, event register
inline constexpr std::uint16_t power_ports = 4;
inline constexpr std::uint16_t pci_address = 0xcf8; // configuration mechanism 1
inline constexpr std::uint16_t pci_data = 0xcfc;

// At `power`: what ACPI's \_S5 writes to the sleep control register, and the event register's bit
// that a pressed power button sets and a read clears.
inline constexpr std::uint16_t sleep_control = power;
inline constexpr std::uint16_t sleep_status = power + 1;
inline constexpr std::uint16_t event_register = power + 2;
inline constexpr std::uint8_t sleep_type_off = 5;
inline constexpr std::uint8_t sleep_enable = 1U << 5; // with the type at bit 2
inline constexpr std::uint8_t power_button = 1;

// Global system interrupts: inputs of the I/O APIC, edge-triggered. Those of MSI-X vectors follow.
inline constexpr std::uint32_t serial_interrupt = 4;
inline constexpr std::uint32_t event_interrupt = 5;
inline constexpr std::uint32_t first_message_interrupt = 24;

} // namespace strait::vmm::platform
