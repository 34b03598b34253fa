// The processor that is modelled: its vendor, its CPUID, and what follows from them.
#pragma once

#include <cstdint>

namespace nvmm::cpu {

enum class Vendor : uint8_t { Amd, Intel };

struct CpuidResult {
  uint32_t eax, ebx, ecx, edx;
};

// What the bare processor offers, before a driver filters it. Nothing is advertised that the CPU does not execute.
struct Model {
  Vendor vendor;
  uint8_t physicalAddressBits;
  uint64_t cr0Reserved;  // bits that MOV to CR0/CR4 and WRMSR of EFER refuse with #GP
  uint64_t cr4Reserved;
  uint64_t eferReserved;
  uint32_t mxcsrMask;
  uint8_t pointerBits;  // of FIP and FDP that FXRSTOR64 and XRSTOR64 load: sign-extended
  uint64_t xcr0;

  // CPUID as the bare processor answers it. A leaf above the highest is answered with the highest basic one on Intel
  // and with zeros on AMD.
  CpuidResult cpuid(uint32_t leaf, uint32_t subleaf) const;
};

const Model& model(Vendor vendor);

}  // namespace nvmm::cpu
