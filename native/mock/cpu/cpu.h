// One software processor. It knows x86, and the virtualization extensions as far as a hypervisor sees them: it is
// entered with a state and a set of controls, executes guest code, and exits with a reason. It knows nothing of NVMM.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "event.h"
#include "exit.h"
#include "memory.h"
#include "model.h"
#include "state.h"

namespace nvmm::cpu {

// What the hypervisor wants to be told and done: a part of SVM's VMCB and VMX's VMCS.
struct Controls {
  Event inject;                  // delivered at the next entry before any instruction; run() clears it, unless the
                                 // entry is refused
  bool interruptWindow = false;  // exit at the first boundary with IF = 1 and no shadow
  bool nmiWindow = false;        // exit at the first boundary where NMIs are not blocked
  bool interceptIret = false;    // exit before any IRET
  bool interceptTaskSwitch = false;
  bool interceptCr8 = false;  // else CR8 is native: 4 bits
  uint64_t interceptCr0 = 0;  // MOV to CR0 that changes one of these bits exits; the processor then did nothing
  uint64_t interceptCr4 = 0;  // MOV to CR4 that sets one of these bits exits
  bool realTime = false;      // RDTSC counts nanoseconds, whether or not the guest runs; else instructions
  bool (*nativeMsr)(uint32_t msr, bool write) = nullptr;  // accesses that do not exit; null: all exit
};

// How often each opcode raised #UD because the opcode table has no row for it: by unknownOpcodeIndex(). Written by the
// thread that runs the CPU, read by any.
using UnknownOpcodes = std::array<std::atomic<uint32_t>, 2048>;
// `map`: 0 without escape, 1 for 0F, 2 for 0F 38, 3 for 0F 3A.
constexpr unsigned unknownOpcodeIndex(bool vex, unsigned map, uint8_t opcode) { return vex << 10 | map << 8 | opcode; }

class Core;

class Cpu {
 public:
  Cpu(PhysicalMemory& memory, const Model& model);
  ~Cpu();
  Cpu(const Cpu&) = delete;
  Cpu& operator=(const Cpu&) = delete;

  // The registers and the controls: to be touched only while run() is not executing. Whatever was changed is noticed at
  // the next entry.
  State& state() { return state_; }
  Controls& controls() { return controls_; }

  // Enters the guest, and executes at most about `budget` instructions (a few more to finish a block). Order at entry:
  // checks of the state (InvalidState), the event to inject, then the windows, then instructions. On return all of
  // state() is architectural. Guest memory may have been rewritten by others since the last run.
  const Exit& run(uint64_t budget);

  // From any thread: makes run() return with ExitKind::Budget at its next instruction boundary; if it is not executing,
  // the next one returns before its first instruction. One call ends one run.
  void interrupt();

  // From any thread, after a change of the guest-physical map: returns when this CPU no longer uses any HostPage that
  // it got before the call. Must not be called while holding a lock that PhysicalMemory::page() takes.
  void flushMemory();

  // Instructions retired since construction.
  uint64_t instructions() const { return retired_; }

  const UnknownOpcodes& unknownOpcodes() const;

  // What RDTSC reads now, without state().tscOffset: see Controls::realTime.
  uint64_t clock() const;

 private:
  const std::unique_ptr<Core> core_;
  State& state_;  // parts of it, at hand
  Controls& controls_;
  const uint64_t& retired_;
};

}  // namespace nvmm::cpu
