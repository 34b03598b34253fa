// What the driver lets a guest see of the processor's CPUID.
#pragma once

#include <cstdint>

#include "../cpu/model.h"

namespace nvmm::mock {

// What the answer depends on besides the processor.
struct CpuidView {
  uint32_t vcpu;       // its id: the APIC id that the guest sees
  uint32_t vcpuCount;  // of the machine
  uint64_t cr4, xcr0;
};

cpu::CpuidResult filteredCpuid(const cpu::Model& model, uint32_t leaf, uint32_t subleaf, const CpuidView& view);

}  // namespace nvmm::mock
