// SPDX-License-Identifier: BSD-3-Clause
// The hypervisor of a Xen domain, through libxengnttab, libxenevtchn and libxenstore.
#pragma once

#include "ports/xen-netback/hypervisor.hh"

#include <memory>

namespace strait::xen {

// Whether this is a Xen domain whose kernel lets programs serve devices (/dev/xen/gntdev, evtchn
// and xenbus are there).
[[nodiscard]] bool runs_on_xen() noexcept;

// The error says which of the three could not be opened, and why.
[[nodiscard]] result<std::unique_ptr<hypervisor>> open_libxen();

} // namespace strait::xen
