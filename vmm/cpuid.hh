// SPDX-License-Identifier: BSD-3-Clause
// What a vCPU says of itself by CPUID: what KVM supports here, and its place among its like.
#pragma once

#include "ports/error.hh"

#include <vector>

#include <linux/kvm.h>

namespace strait::vmm {

// The list for the `id`-th of `count` vCPUs (APIC id `id`, all cores of one package, no SMT), made
// of what KVM supports. Intel's SDM volume 2A, CPUID; AMD's APM volume 3, appendix E.
[[nodiscard]] std::vector<kvm_cpuid_entry2> cpuid_of(std::vector<kvm_cpuid_entry2> supported,
                                                     unsigned id, unsigned count);

[[nodiscard]] ports::result<void>
set_cpuid(int vcpu, const std::vector<kvm_cpuid_entry2>& supported, unsigned id, unsigned count);

} // namespace strait::vmm
