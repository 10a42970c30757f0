// SPDX-License-Identifier: BSD-3-Clause
// What the guest does by instructions of its own: ports, registers, interrupts, time, ring 3, the
// other CPUs, the end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace strait::guest {

template <typename T>
[[nodiscard]] T in(std::uint16_t port) noexcept
{
    T value;
    asm volatile("in %1, %0" : "=a"(value) : "Nd"(port) : "memory");
    return value;
}

template <typename T>
void out(std::uint16_t port, T value) noexcept
{
    asm volatile("out %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

// One instruction each, because it is a device that is read or written; aligned or not.
template <typename T>
[[nodiscard]] T load(std::uint64_t address) noexcept
{
    T value;
    asm volatile("mov (%1), %0" : "=q"(value) : "r"(address) : "memory");
    return value;
}

template <typename T>
void store(std::uint64_t address, T value) noexcept
{
    asm volatile("mov %0, (%1)" : : "q"(value), "r"(address) : "memory");
}

// Time stamps, ring 3's and ring 0's alike.
[[nodiscard]] inline std::uint64_t cycles() noexcept
{
    std::uint32_t low = 0;
    std::uint32_t high = 0;
    asm volatile("rdtsc" : "=a"(low), "=d"(high));
    return std::uint64_t{high} << 32 | low;
}

// Interrupt vectors. All but exceptions' do nothing but count.
namespace vector {
inline constexpr std::uint8_t timer = 0x20;
inline constexpr std::uint8_t button = 0x21;
inline constexpr std::uint8_t first_message = 0x30;
inline constexpr unsigned messages = 64;
} // namespace vector

// Interrupts stay disabled but in sleep().
void start_cpu() noexcept;
[[nodiscard]] std::uint32_t interrupts(unsigned vector) noexcept;
[[nodiscard]] std::uint8_t own_apic_id() noexcept;
[[nodiscard]] std::uint64_t cycles_per_second() noexcept;

// Until the next interrupt, or for so long.
void sleep(std::uint64_t nanoseconds) noexcept;
// For so long, whatever interrupts.
void wait(std::uint64_t nanoseconds) noexcept;

// The I/O APIC's pin interrupts at its edge from now on.
void route_pin(unsigned pin, std::uint8_t vector) noexcept;

// How many came up, within 2 s.
[[nodiscard]] unsigned start_others(std::span<const std::uint8_t> apic_ids) noexcept;

// Where a guest-physical address can be had in the address space; what lies below 8 GiB is there
// one to one. The last few places stay valid.
[[nodiscard]] std::uint64_t reach(std::uint64_t physical, std::uint64_t length) noexcept;

// Power-off falls back on a reset, for machines that have another way.
[[noreturn]] void power_off() noexcept;
[[noreturn]] void reset() noexcept;
[[noreturn]] void triple_fault() noexcept;
[[noreturn]] void halt() noexcept;

extern "C" std::uint64_t call_in_ring_3(std::uint64_t (*function)(void*), void* argument) noexcept;

} // namespace strait::guest
