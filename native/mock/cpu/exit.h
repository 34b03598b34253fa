// Why Cpu::run returned: the exits of a processor with virtualization (SVM's intercepts, VMX's exit reasons), before
// any driver has looked at them.
#pragma once

#include <cstdint>

#include "event.h"

namespace nvmm::cpu {

enum class ExitKind : uint8_t {
  Budget,  // the instruction budget is used up, or somebody called interrupt(); at an instruction boundary
  Memory,  // guest-physical access that the memory does not allow (nested page fault)
  Io,      // IN, OUT, INS, OUTS, after the permission checks
  Halt,
  Cpuid,
  Rdmsr,  // each RDMSR and WRMSR that passes the privilege check, except where Controls say native
  Wrmsr,
  Invd,
  Monitor,
  Mwait,
  Xsetbv,
  Cr0Write,  // see Controls::interceptCr0
  Cr4Write,  // see Controls::interceptCr4
  Cr8Read,   // see Controls::interceptCr8
  Cr8Write,
  Iret,        // see Controls::interceptIret; before the IRET
  TaskSwitch,  // see Controls::interceptTaskSwitch
  Refused,     // an instruction that the hypervisor is asked about and that becomes #UD (RDTSCP, RDPMC, VMCALL ...)
  InterruptWindow,  // see Controls::interruptWindow
  NmiWindow,        // see Controls::nmiWindow
  Shutdown,         // triple fault
  InvalidState,     // entry refused: nothing was executed
};

enum class Fault : uint8_t { Read, Write, Execute };

// Why an entry was refused, in the classes that VMX tells apart.
enum class Refusal : uint8_t {
  State,    // the guest's state
  Msrs,     // an MSR that the entry loads: LSTAR, CSTAR, KERNELGSBASE
  Control,  // the control fields: an event that cannot be injected so
};

struct Exit {
  ExitKind kind;
  // An event was being delivered when the exit came: `event` holds it again, to be injected at the next entry.
  bool deliveryInterrupted;
  Event event;
  Refusal refusal;   // of InvalidState
  uint64_t nextRip;  // after the instruction; valid for every kind that one instruction causes

  struct {
    uint64_t gpa;
    Fault access;
    uint8_t length;     // bytes of the instruction, as many as could be fetched without crossing a page; 0: none
    uint8_t bytes[15];  // (fetches, page walks and event deliveries have none)
  } memory;
  struct {
    uint16_t port;
    uint8_t operandSize, addressSize;  // in bytes
    uint8_t segment;                   // Seg of the memory operand of INS and OUTS
    bool in, string, repeat;
  } io;
  struct {
    uint8_t cr8Register;  // Gpr of MOV to or from CR8
    uint64_t value;       // operand of a Cr0Write, Cr4Write, Cr8Write, or EDX:EAX of Wrmsr and Xsetbv
  } control;
};

}  // namespace nvmm::cpu
