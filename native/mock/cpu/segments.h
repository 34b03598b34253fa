// What the files about segments, tasks, events and system instructions share.
#pragma once

#include "core.h"
#include "descriptors.h"

namespace nvmm::cpu {

// ---- Instructions that transfer control -----------------------------------------------------------------------------
// They set RIP themselves, and may fault in the context to which they have gone (a task switch). So RIP and the count
// of instructions are those of the instruction itself from the start: begin() gives the address of the next one.
inline uint64_t begin(Core& core, const Insn* insn) {
  uint64_t next = core.nextRip(insn);
  core.state.rip = core.rip(insn);
  core.retired += insn->number;
  return next;
}
inline const Insn* end(Core& core, bool completed) {
  core.retired += completed;
  return nullptr;
}

inline uint64_t sizeMask(unsigned bytes) { return ~uint64_t{0} >> (64 - 8 * bytes); }

// ---- Descriptors ----------------------------------------------------------------------------------------------------
// An error code that names a selector or a vector.
inline uint32_t selectorError(const Core& core, uint16_t selector) { return (selector & 0xfffc) | core.delivery.ext; }
inline bool raiseFor(Core& core, uint8_t vector, uint16_t selector) {
  return core.raise(vector, selectorError(core, selector));
}

// The linear address of a selector's descriptor; false: not inside its table.
bool findDescriptor(const Core& core, uint16_t selector, unsigned size, uint64_t& linear);
// Reads the descriptor, with the second half if it has one. Not inside its table: `vector` is raised.
bool readDescriptor(Core& core, uint16_t selector, uint8_t vector, Descriptor& descriptor);
// Sets bits of the type (accessed, busy) in memory.
bool setType(Core& core, const Descriptor& descriptor, uint8_t bits);

// Checks a descriptor as the target of a control transfer whose privilege rules are met or not.
bool checkCode(Core& core, uint16_t selector, const Descriptor& code, bool privileged);
// An offset in the code segment to be loaded, which cuts it to 32 bits if it is not a 64-bit one; else #GP(0).
bool checkOffset(Core& core, const Descriptor& code, uint64_t& offset);
// Checks a descriptor as SS at privilege `cpl`: rights raise `vector`, absence #SS.
bool checkStack(Core& core, uint16_t selector, const Descriptor& stack, unsigned cpl, uint8_t vector);

// The last step of a transfer: SS, if it changes, is loaded already.
void loadCs(Core& core, uint16_t selector, const Descriptor& code, unsigned cpl);
void loadRealCs(Core& core, uint16_t selector);
void loadNull(Core& core, unsigned seg, uint16_t selector);
// SS of a return or entry in long mode: null, with the privilege in it.
Segment nullStack(unsigned cpl);
// After a return to less privilege: segments that it may not use become null.
void dropPrivilegedSegments(Core& core);

// What far RET and IRET in protected mode have in common, at the same or less privilege. `popped` bytes at the top are
// read already; SS:RSP follow them and `release` more, if privilege changes or `withStack` (IRET in 64-bit mode).
bool returnTo(Core& core, uint16_t selector, uint64_t offset, unsigned operandSize, unsigned popped, unsigned release,
              bool withStack);

// ---- Stacks ---------------------------------------------------------------------------------------------------------
// SS:ESP for privilege `cpl` from a TSS of legacy mode, and RSP from one of long mode (`offset` in it).
bool innerStack(Core& core, unsigned cpl, Segment& ss, uint64_t& sp);
bool innerStack64(Core& core, unsigned offset, uint64_t& sp);
constexpr unsigned rspOffset(unsigned cpl) { return 4 + cpl * 8; }
constexpr unsigned istOffset(unsigned ist) { return 0x24 + (ist - 1) * 8; }

// The access is for #AC (mmu.cc).
bool misaligned(const Core& core, uint64_t linear, unsigned size);

// A value on the current stack, `offset` bytes from its top.
bool peek(Core& core, unsigned offset, unsigned size, uint64_t& value);
bool peekSelector(Core& core, unsigned offset, unsigned size, uint16_t& selector);  // only its 16 bits are read

// Values to be pushed on a stack, which may not be the current one. Nothing is written before commit().
class StackFrame {
 public:
  // In 64-bit mode of the code that will use it, `wide`: SS does not matter. `supervisor`: that code has CPL < 3.
  // `error`: the code of #SS.
  StackFrame(Core& core, const Segment& ss, uint64_t sp, bool wide, bool supervisor, uint32_t error)
      : core_(core),
        ss_(ss),
        wide_(wide),
        supervisor_(supervisor),
        error_(error),
        mask_(wide       ? ~uint64_t{0}
              : ss.big() ? 0xffffffff
                         : 0xffff),
        full_(sp),
        sp_(sp & mask_) {}

  bool push(uint64_t value, unsigned size);
  // Writes all of it, and sets RSP. SS is the caller's affair.
  void commit();

 private:
  struct Item {
    Span span;
    uint64_t value;
    unsigned size;
  };
  Core& core_;
  Segment ss_;
  bool wide_, supervisor_;
  uint32_t error_;
  uint64_t mask_, full_, sp_;
  unsigned count_ = 0;
  Item items_[36];  // the largest: 31 parameters of a call gate, SS:ESP, CS:EIP
};

// ---- Tasks (tasks.cc) -----------------------------------------------------------------------------------------------
enum class TaskSwitch : uint8_t { Jump, Call, Gate, Return };

// Switches to the task of a TSS in the GDT. `next` is where the old one continues; `error` is pushed for the new one by
// a gate of an exception that has one. True: done, or an exception was delivered in the new task. False: nothing has
// changed, unless the exit came while such an exception was delivered.
bool switchTask(Core& core, uint16_t selector, TaskSwitch why, uint64_t next, bool hasError = false,
                uint32_t error = 0);

}  // namespace nvmm::cpu
