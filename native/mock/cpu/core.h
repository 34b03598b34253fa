// The inside of a Cpu: its state, what is derived from it, and the operations from which the instructions are made.
//
// The rule of every operation that can fail: it returns false (or null), having recorded an exception or an exit; the
// handler then returns stop(), and the architectural state must be as before the instruction. So do all that may fault
// first.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>

#include "block_cache.h"
#include "cpu.h"
#include "flags.h"
#include "host_memory.h"
#include "insn.h"

namespace nvmm::cpu {

namespace vector {  // of exceptions: vector::GP
enum : uint8_t {
  DE = 0,
  DB = 1,
  NMI = 2,
  BP = 3,
  OF = 4,
  BR = 5,
  UD = 6,
  NM = 7,
  DF = 8,
  TS = 10,
  NP = 11,
  SS = 12,
  GP = 13,
  PF = 14,
  MF = 16,
  AC = 17,
  MC = 18,
  XM = 19,
};
}

enum class Access : uint8_t { Read, Write, Execute };  // Write also stands for read-modify-write

// Where the bytes of one access are in the host: in one page, or at the end of one and the start of another.
struct Span {
  uint8_t* host;
  uint8_t* host2;
  unsigned firstBytes;  // as many are at `host`
};

struct TlbEntry {
  uint64_t page = 1;  // linear address; 1, which no page has: empty
  uint8_t* host = nullptr;
};

// Direct mapped, and separate for each kind of access: an entry in `write` grants read-modify-write, without any work
// to do for it (dirty bit set, page holds no decoded code). Entries stand for canonical pages of plain memory only.
struct Tlb {
  static constexpr unsigned kEntries = 512;
  TlbEntry read[kEntries], write[kEntries], execute[kEntries];

  // Neighbours never share an entry: Core::pageOfLast() finds accesses that cross pages by that. Nor do pages 2 MiB
  // apart, as large buffers are.
  static unsigned index(uint64_t linear) { return ((linear >> 12) + (linear >> 21) * 16) & (kEntries - 1); }
};

// Core::mode: what a decoded block depends on.
constexpr uint8_t kModeCode = 3;       // 0: 16-bit code, 1: 32-bit, 2: 64-bit
constexpr uint8_t kModeProtected = 4;  // CR0.PE and not virtual-8086
constexpr uint8_t kModeUser = 8;       // CPL 3: the page tables grant less
constexpr uint8_t kModeSingle = 16;    // one instruction a block

enum class Outcome : uint8_t { Continue, Exception, Exit };

class Core {
 public:
  Core(PhysicalMemory& memory, const Model& model);

  // ---- What there is ----
  State state{};
  Controls controls{};
  Exit exit{};
  PhysicalMemory& memory;
  const Model& model;

  // ---- The run loop (cpu.cc) ----
  const Exit& run(uint64_t budget);

  Outcome outcome = Outcome::Continue;  // of the handler that returned null
  struct {
    uint8_t vector;
    bool hasError;
    uint32_t error;
  } exception{};                      // with Outcome::Exception
  bool wantInstructionBytes = false;  // with a Memory exit: fill in exit.memory.bytes

  uint64_t retired = 0;               // instructions, up to the start of this block
  std::atomic<uint64_t> deadline{0};  // leave at the first block boundary where `retired` has reached it
  // The instruction before a boundary where it matters (an interrupt shadow, TF, RF: kModeSingle) has set them itself;
  // deliver() clears `stepTrap`, which a completed instruction turns into a #DB.
  bool shadowBegun = false, rfLoaded = false, stepTrap = false;
  void beginShadow(bool ofSti = false) {  // STI, MOV SS, POP SS, then leave()
    state.interruptShadow = shadowBegun = true;
    state.shadowOfSti = ofSti;
  }
  UnknownOpcodes unknownOpcodes{};

  // RIP of an instruction, and of the next one.
  uint64_t rip(const Insn* insn) const { return state.rip + insn->offset; }
  uint64_t nextRip(const Insn* insn) const { return (state.rip + insn->offset + insn->length) & ripMask; }
  // The clock of RDTSC at this instruction.
  uint64_t clock(const Insn* insn) const {
    return (controls.realTime ? nanoseconds() : retired + insn->number) + state.tscOffset;
  }
  static uint64_t nanoseconds() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count());
  }

  // ---- Derived from the state ----
  // updateMode() after any change of CS, SS, CPL, CR0, CR4, EFER, RFLAGS.VM or AC, DR7; updateSegment() after a
  // change of another segment register's hidden part.
  void updateMode();                 // cpu.cc
  void updateSegment(unsigned seg);  // cpu.cc
  void updateSegments();             // of all

  uint8_t mode = 0;
  uint64_t ripMask = 0xffff;    // by code size
  uint64_t stackMask = 0xffff;  // by SS.B, or 64 bits
  struct SegmentWindow {
    uint64_t base;
    uint64_t readEnd, writeEnd;  // accesses that end at or below need no further check; 0: each is checked (mmu.cc)
  } window[6]{};
  uint64_t codeLimit = 0xffff;  // the last valid RIP; in 64-bit mode RIP must be canonical

  bool amd() const { return model.vendor == Vendor::Amd; }
  bool protectedMode() const { return state.cr0 & kPE; }
  bool v86() const { return state.rflags & kVM; }
  bool realMode() const { return !(state.cr0 & kPE); }
  bool longMode() const { return state.efer & kLMA; }  // IA-32e mode, compatibility mode included
  bool code64() const { return (mode & kModeCode) == 2; }

  // ---- Flags ----
  Flags flags{};
  uint64_t rflags() const { return (state.rflags & ~kArithmeticFlags) | flags.get(); }
  // All of RFLAGS. The caller sees to updateMode() when VM or AC change, and ends the block when TF, IF or RF may have.
  void setRflags(uint64_t value) {
    state.rflags = (value & ~kArithmeticFlags) | kFlagsFixed;
    flags.set(value);
  }

  // ---- Exceptions and exits ----
  bool raise(uint8_t vector) { return raise(vector, false, 0); }
  bool raise(uint8_t vector, uint32_t error) { return raise(vector, true, error); }
  bool raise(uint8_t vector, bool hasError, uint32_t error) {
    exception = {vector, hasError, error};
    outcome = Outcome::Exception;
    return false;
  }
  bool leaveWith(ExitKind kind) {  // an exit that is not at an instruction, or whose handler calls stop() itself
    exit.kind = kind;
    exit.deliveryInterrupted = false;
    outcome = Outcome::Exit;
    return false;
  }
  // A guest-physical access that failed. `instructionBytes`: a data access of an instruction (not a fetch, a page walk,
  // or an event's delivery).
  bool memoryExit(uint64_t gpa, Fault access, bool instructionBytes) {
    exit.memory.gpa = gpa;
    exit.memory.access = access;
    exit.memory.length = 0;
    wantInstructionBytes = instructionBytes;
    return leaveWith(ExitKind::Memory);
  }

  // ---- Registers ----
  // Byte registers are named as in Insn::reg. A write of 32 bits clears the upper half.
  template <typename T>
  T reg(unsigned r) const {
    if constexpr (sizeof(T) == 1) return static_cast<T>(state.gpr[r >> 3] >> (r & 7) * 8);
    return static_cast<T>(state.gpr[r]);
  }
  template <typename T>
  void setReg(unsigned r, T value) {
    if constexpr (sizeof(T) == 1) {
      unsigned shift = (r & 7) * 8;
      uint64_t& whole = state.gpr[r >> 3];
      whole = (whole & ~(uint64_t{0xff} << shift)) | static_cast<uint64_t>(value) << shift;
    } else if constexpr (sizeof(T) == 2) {
      state.gpr[r] = (state.gpr[r] & ~uint64_t{0xffff}) | value;
    } else {
      state.gpr[r] = value;
    }
  }
  // As an address-size register (RCX, RSI, RDI of string instructions, RSP with stackMask).
  void setMasked(unsigned r, uint64_t value, uint64_t mask) {
    state.gpr[r] = mask == 0xffff ? (state.gpr[r] & ~mask) | (value & mask) : value & mask;
  }

  // ---- Memory of the guest ----
  // The offset of the memory operand in its segment.
  uint64_t address(const Insn* insn) const {
    return (state.gpr[insn->base] + (state.gpr[insn->index] << insn->scale) + insn->disp) & insn->addressMask();
  }

  // Segmented accesses, with all checks, at the current privilege.
  template <typename T>
  bool read(unsigned seg, uint64_t offset, T& value) {
    const SegmentWindow& w = window[seg];
    uint64_t linear = w.base + offset;
    const TlbEntry& entry = tlb->read[Tlb::index(linear)];
    if (__builtin_expect(offset + sizeof(T) <= w.readEnd && entry.page == pageOfLast<T>(linear), true)) {
      value = loadHost<T>(entry.host + (linear & 0xfff));
      return true;
    }
    const Loaded<T> loaded = readSlowly<T>(seg, offset);
    value = loaded.value;
    return loaded.done;
  }
  template <typename T>
  bool write(unsigned seg, uint64_t offset, T value) {
    if (uint8_t* host = writable<T>(seg, offset)) {
      storeHost<T>(host, value);
      return true;
    }
    return writeSlowly<T>(seg, offset, value);
  }
  // The host's address of a T to be read and written, or null: use spanSlow.
  template <typename T>
  uint8_t* writable(unsigned seg, uint64_t offset) {
    const SegmentWindow& w = window[seg];
    uint64_t linear = w.base + offset;
    const TlbEntry& entry = tlb->write[Tlb::index(linear)];
    if (__builtin_expect(offset + sizeof(T) <= w.writeEnd && entry.page == pageOfLast<T>(linear), true)) {
      return entry.host + (linear & 0xfff);
    }
    return nullptr;
  }

  // The same for reading only.
  template <typename T>
  uint8_t* readable(unsigned seg, uint64_t offset) {
    const SegmentWindow& w = window[seg];
    uint64_t linear = w.base + offset;
    const TlbEntry& entry = tlb->read[Tlb::index(linear)];
    bool ready = offset + sizeof(T) <= w.readEnd && entry.page == pageOfLast<T>(linear);
    return ready ? entry.host + (linear & 0xfff) : nullptr;
  }

  // What the inline accesses can't do: checks of segments, translation, TLB fill, accesses of two pages, pages with
  // code, alignment checks, data breakpoints (mmu.cc). At most a page. Nothing is written unless all of it can be.
  bool readSlow(unsigned seg, uint64_t offset, void* to, unsigned size);
  bool writeSlow(unsigned seg, uint64_t offset, const void* from, unsigned size);
  // For read-modify-write: the access checks of a write. The caller calls wrote() for what it has changed.
  bool spanSlow(unsigned seg, uint64_t offset, unsigned size, Span& span);

  // Linear accesses, as the current privilege or as the supervisor (descriptor tables, TSS, new stacks) (mmu.cc).
  bool readLinear(uint64_t linear, void* to, unsigned size, bool supervisor);
  bool writeLinear(uint64_t linear, const void* from, unsigned size, bool supervisor);
  bool spanLinear(uint64_t linear, unsigned size, Access access, bool supervisor, Span& span);
  void loadSpan(const Span& span, void* to, unsigned size);
  void storeSpan(const Span& span, const void* from, unsigned size);  // with wrote()

  // The host's page of a linear code address at the current privilege: fills tlb->execute; null: #PF or Memory is
  // recorded (mmu.cc).
  const uint8_t* fetchPageSlow(uint64_t linear);
  const uint8_t* fetchPage(uint64_t linear) {
    const TlbEntry& entry = tlb->execute[Tlb::index(linear)];
    return entry.page == (linear & ~uint64_t{0xfff}) ? entry.host : fetchPageSlow(linear);
  }

  // After a write that did not go through the write TLB: code that was decoded from these bytes is forgotten.
  void wrote(const uint8_t* host, unsigned size) {
    if (blocks.holdsCode(host)) blocks.overwritten(host, size);
  }
  bool canonical(uint64_t linear) const {
    return static_cast<uint64_t>(static_cast<int64_t>(linear << 16) >> 16) == linear;
  }

  // Stack of the current SS, implicit in PUSH, POP, CALL, RET.
  template <typename T>
  bool push(T value) {
    uint64_t sp = (state.gpr[RSP] - sizeof(T)) & stackMask;
    if (!write<T>(SS, sp, value)) return false;
    setMasked(RSP, sp, stackMask);
    return true;
  }
  template <typename T>
  bool top(T& value) {  // without popping it
    return read<T>(SS, state.gpr[RSP] & stackMask, value);
  }
  void moveStack(int64_t by) { setMasked(RSP, state.gpr[RSP] + static_cast<uint64_t>(by), stackMask); }

  // ---- TLB (mmu.cc) ----
  enum {
    kSupervisorTlb,
    kUserTlb,
    kNoTlb
  };  // kNoTlb is never filled: for when every access must be seen (AC, breakpoints)
  Tlb tlbs[3];
  Tlb* tlb = &tlbs[kSupervisorTlb];  // set by updateMode()
  void flushTlb();                   // all; calls translationChanged()
  void flushTlbNonGlobal();
  void flushTlbPage(uint64_t linear);
  // MOV to CR3 (and to CR0, CR4, EFER where they concern PAE): loads the four PDPTEs of legacy PAE paging, with their
  // check; what they were is in pdpte. False: #GP is recorded, or a Memory exit.
  bool loadPdptes(uint64_t cr0, uint64_t cr3, uint64_t cr4);
  uint64_t pdpte[4]{};
  std::array<TlbEntry*, 512> filled;  // since the last flush; if there were more the count is beyond the size
  size_t filledCount = 0;
  uint64_t largeFirst = ~uint64_t{0}, largeLast = 0;  // pages in the TLB that are parts of larger ones lie between

  // ---- Decoded code (block_cache.cc) ----
  BlockCache blocks;
  Block* block = nullptr;  // that is being executed
  uint64_t stamp = 1;      // blocks with another one need a new look at their translation
  uint64_t epoch = 1;      // and with another one of these at their bytes
  void translationChanged() { ++stamp; }
  Insn* unlinked = nullptr;            // the relative branch that led to the next block to be found
  std::array<Block*, 1024> jumpCache;  // by RIP: for indirect branches
  static unsigned jumpIndex(uint64_t rip) { return (rip ^ rip >> 10) & 1023; }
  bool reachable(uint64_t rip) const { return code64() ? canonical(rip) : rip <= codeLimit; }

  // After a serializing instruction: code may have been rewritten by others.
  void serialize() { ++stamp, ++epoch; }

  // ---- Segments and control transfers (segments.cc) ----
  // All of these: false has left the state as it was. RIP is changed by those that transfer; `next` is the return
  // address.
  bool loadSegment(unsigned seg, uint16_t selector);  // MOV, POP, LDS...; not CS
  bool jumpFar(uint16_t selector, uint64_t offset, unsigned operandSize, uint64_t next);
  bool callFar(uint16_t selector, uint64_t offset, unsigned operandSize, uint64_t next);
  bool returnFar(unsigned operandSize, uint16_t release);
  bool ioAllowed(uint16_t port, unsigned size);  // IOPL and the TSS's bitmap; false: #GP(0), or a failed access

  // ---- Events (events.cc) ----
  // Delivers at the current RIP; exceptions during it become #DF and Shutdown. False: an exit is recorded, with
  // deliveryInterrupted and event where it is Memory or TaskSwitch. Ends the interrupt shadow.
  bool deliver(const Event& event);
  // The exception that a handler recorded: of the instruction at state.rip.
  bool deliverException();
  // A #DB trap at the boundary where RIP is, for the bits of DR6 in pendingDebug; clears them.
  bool deliverDebugTrap();
  uint64_t pendingDebug = 0;  // DR6 bits: data breakpoints (mmu.cc), task switches; BS is added by the run loop
  // At a boundary, while DR7 enables breakpoints: raises #DB and returns false if one is set at RIP for execution (and
  // RF = 0).
  bool checkInstructionBreakpoint();
  bool breakpointsEnabled() const { return state.dr7 & 0xff; }
  uint16_t lastEventVector = 0;

  struct {
    bool active = false;
    uint32_t ext = 0;  // EXT of error codes: 1 if the program did not ask for the event
  } delivery;

  // ---- Entry (entry.cc) ----
  // The consistency checks. False: InvalidState is recorded.
  bool checkEntry();
  struct {
    Segment seg[6], ldtr, tr;
    uint64_t mode;
  } validSegments{};  // the last that were found so

 private:
  // The page of the last byte: differs from the first one's, and so from the entry's, when the access crosses pages.
  template <typename T>
  static uint64_t pageOfLast(uint64_t linear) {
    return (linear + (sizeof(T) - 1)) & ~uint64_t{0xfff};
  }

  // By value: a handler whose locals have their address taken can't jump to the next one, but has to call it.
  template <typename T>
  struct Loaded {
    T value;
    bool done;
  };
  template <typename T>
  __attribute__((noinline)) Loaded<T> readSlowly(unsigned seg, uint64_t offset) {
    Loaded<T> loaded{};
    loaded.done = readSlow(seg, offset, &loaded.value, sizeof(T));
    return loaded;
  }
  template <typename T>
  __attribute__((noinline)) bool writeSlowly(unsigned seg, uint64_t offset, T value) {
    return writeSlow(seg, offset, &value, sizeof(T));
  }

  friend class Cpu;
  void enter();
  bool deliverInjected();
  bool boundary();
  bool settle();
  void honourFlush();
  void afterSingle(bool resumed);
  Block* findBlock(bool single);
  Block* decodeBlock(uint64_t linear, const uint8_t* host, uint8_t blockMode);
  bool usable(Block* block, uint64_t linear, const uint8_t* host);
  void forgetWritable(const uint8_t* hostPage);
  void fillInstructionBytes();

  struct {  // what the derived fields were made from
    uint64_t cr0, cr3, cr4, efer, dr7, rflags;
    unsigned cpl;
    Segment seg[6];
  } entered_{};
  uint64_t limit_ = 0;      // what `deadline` is when nobody asks for anything
  bool debugHeld_ = false;  // MOV SS holds debug traps back for an instruction
  std::atomic<bool> running_{false}, interruptRequested_{false}, flushRequested_{false};
  std::mutex flushMutex_;
  std::condition_variable flushed_;
};

// ---- How a handler ends ----

// Completed; the next instruction of the block follows.
inline const Insn* next(Core& core, const Insn* insn) {
  ++insn;
  return insn->handler(core, insn);
}

// Not completed: an exception or an exit is recorded.
inline const Insn* stop(Core& core, const Insn* insn) {
  core.state.rip = core.rip(insn);
  core.retired += insn->number;
  return nullptr;
}

// Completed; the block ends, since the instruction changed what the rest of it depends on (mode, translation, IF, TF,
// shadow), or went to another RIP.
inline const Insn* leaveTo(Core& core, const Insn* insn, uint64_t rip) {
  core.state.rip = rip;
  core.retired += insn->number + 1u;
  return nullptr;
}
inline const Insn* leave(Core& core, const Insn* insn) { return leaveTo(core, insn, core.nextRip(insn)); }

// Completed by an operation that has set state.rip itself (far transfers, deliver).
inline const Insn* transferred(Core& core, const Insn* insn) { return leaveTo(core, insn, core.state.rip); }

// Not completed, for these reasons:
inline const Insn* fault(Core& core, const Insn* insn, uint8_t vector) {
  core.raise(vector);
  return stop(core, insn);
}
inline const Insn* fault(Core& core, const Insn* insn, uint8_t vector, uint32_t error) {
  core.raise(vector, error);
  return stop(core, insn);
}
inline const Insn* exitAt(Core& core, const Insn* insn, ExitKind kind) {
  core.exit.nextRip = core.nextRip(insn);
  core.leaveWith(kind);
  if (core.model.vendor == Vendor::Intel) core.state.rflags &= ~kRF;  // as VMX saves it with an instruction's exit
  return stop(core, insn);
}

// Completed; `to` follows.
inline const Insn* continueAt(Core& core, const Insn* insn, Block* to) {
  core.state.rip = to->rip;
  core.retired += insn->number + 1u;
  if (__builtin_expect(core.retired >= core.deadline.load(std::memory_order_relaxed), false)) return nullptr;
  core.block = to;
  return to->insns;
}

// A near branch: to the target in its immediate, and to any other. It faults where the target can't be reached; so
// whoever has something to do before asks Core::reachable() first.
const Insn* jumpUnlinked(Core& core, const Insn* insn);  // cpu.cc
inline const Insn* jump(Core& core, const Insn* insn) {
  if (__builtin_expect(insn->link->stamp == core.stamp, true)) return continueAt(core, insn, insn->link);
  return jumpUnlinked(core, insn);
}
inline const Insn* jump(Core& core, const Insn* insn, uint64_t target) {
  Block* to = core.jumpCache[Core::jumpIndex(target)];
  if (__builtin_expect(to->rip == target && to->stamp == core.stamp && to->mode == core.block->mode, true)) {
    return continueAt(core, insn, to);
  }
  return core.reachable(target) ? leaveTo(core, insn, target) : fault(core, insn, vector::GP, 0);
}

}  // namespace nvmm::cpu
