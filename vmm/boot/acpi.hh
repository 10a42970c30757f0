// SPDX-License-Identifier: BSD-3-Clause
// The ACPI tables (ACPI 6.3): RSDP, XSDT, FADT (hardware-reduced), MADT, and the DSDT that
// dsdt.asl is compiled to. They say where the PCI bus, the serial port and the power button are.
#pragma once

#include "vmm/memory.hh"

#include <cstddef>
#include <cstdint>
#include <vector>

namespace strait::vmm::boot {

// The tables as they lie at platform::acpi_tables, the RSDP first. `cpus` is 1 to
// platform::max_cpus; APIC ids are 0 to cpus - 1.
[[nodiscard]] std::vector<std::byte> acpi_tables(unsigned cpus);

} // namespace strait::vmm::boot
