// The software CPU as an executor of cases: a minimal long-mode system whose exception handlers halt.
#pragma once

#include <vector>

#include "mock/cpu/cpu.h"
#include "oracle_case.h"

namespace nvmm::oracle {

class Guest : private cpu::PhysicalMemory {
 public:
  Guest(const Memory& initial, bool hasLocalSegments);

  void run(const Case& c, Outcome& out);

  // The hidden part of what a selector of the cases selects; P = 0 where it selects nothing.
  cpu::Segment segment(uint16_t selector) const;

 private:
  cpu::HostPage page(uint64_t gpa) override;
  void buildPageTables();
  void buildDescriptorTables(bool hasLocalSegments);
  void enter(const Case& c);
  void leave(const Case& c, cpu::ExitKind exit, Outcome& out);
  template <typename T>
  T& at(uint64_t gpa);

  const Memory& initial_;
  const uint64_t hostComponents_;
  std::vector<uint8_t> ram_;
  cpu::Cpu cpu_;
};

// The model that stands beside this host, with the host's MXCSR_MASK and as much of FIP and FDP as it has. Bit 17 of
// MXCSR, AMD's misaligned SSE mode, can be set there, and FXSAVE shows it. No case that sets it goes on to a misaligned
// operand.
const cpu::Model& hostModel();

// The state components that the host has and the models have not: AVX, PKRU.
uint64_t foreignComponents();

}  // namespace nvmm::oracle
