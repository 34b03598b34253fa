// Guest-physical memory, as a processor sees it.
#pragma once

#include <cstdint>

namespace nvmm::cpu {

constexpr uint8_t kReadable = 1, kWritable = 2, kExecutable = 4;

struct HostPage {
  uint8_t* host;  // 4096 bytes; null where nothing is mapped
  uint8_t prot;   // kReadable | kWritable | kExecutable
};

class PhysicalMemory {
 public:
  virtual ~PhysicalMemory() = default;

  // The page that holds `gpa` (any 64-bit value). Called from the thread that runs the CPU. The CPU may keep the answer
  // until Cpu::flushMemory() has been honoured: see Cpu::quiesce().
  virtual HostPage page(uint64_t gpa) = 0;
};

}  // namespace nvmm::cpu
