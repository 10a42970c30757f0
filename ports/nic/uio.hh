// SPDX-License-Identifier: BSD-3-Clause
// PCI devices at physical addresses, by what sysfs says of them: for ports, and for who has no
// DPDK.
#pragma once

#include <string_view>

namespace strait::nic {

// Of a kernel's driver: it gives a device to programs and puts no IOMMU before it.
[[nodiscard]] constexpr bool is_uio(std::string_view driver) noexcept
{
    return driver == "uio_pci_generic" || driver == "igb_uio";
}

// Of what iommu_group/type says ("DMA", "DMA-FQ", "identity"; empty: there is no IOMMU): it lets no
// physical address of the device's through.
[[nodiscard]] constexpr bool translates(std::string_view iommu_type) noexcept
{
    return iommu_type.starts_with("DMA");
}

} // namespace strait::nic
