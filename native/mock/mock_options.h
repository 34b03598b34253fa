// What can be chosen when a mock system is made.
#pragma once

#include <cstdint>

#include "cpu/model.h"

namespace nvmm::mock {

struct Options {
  cpu::Vendor vendor = cpu::Vendor::Amd;
  uint32_t kernelVersion = 2;      // 1 or 2
  bool virtualization = true;      // the processor has it: without, the node cannot be opened (ENXIO)
  uint32_t maxMachines = 128;      // of the system, at most 128
  uint32_t maxVcpus = 256;         // of a machine, at most 256
  uint64_t maxRam = 0x2000000000;  // of a machine
  // Instructions after which a run is preempted (EXIT_NONE), as by the host's scheduler; 0: never. Between slices the
  // driver looks at `stop` and kicks all the same.
  uint64_t timeSlice = 0;
  // The TSC counts nanoseconds, as that of a processor of 1 GHz; else the instructions that its VCPU has executed, so
  // that runs are reproducible.
  bool realTime = false;
};

}  // namespace nvmm::mock
