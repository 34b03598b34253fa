// Near branches: Jcc, JMP, CALL, RET, LOOP, JCXZ; BOUND, CLI, STI; instructions that do nothing, and those that do not
// exist.
#include "operand.h"

namespace nvmm::cpu {
namespace {

struct JmpJ : NotLockable {
  template <typename T, Where>
  static const Insn* run(Core& core, const Insn* insn) {
    return jump(core, insn);
  }
};

template <unsigned kCondition>
struct Jcc : NotLockable {
  template <typename T, Where>
  static const Insn* run(Core& core, const Insn* insn) {
    return core.flags.test<kCondition>() ? jump(core, insn) : next(core, insn);
  }
};

// Asked where the branch has something to do that a faulting one must not have done.
bool linked(const Core& core, const Insn* insn) { return insn->link->stamp == core.stamp || core.reachable(insn->imm); }

// Processors look at the stack before they look at the target: one that can't be written comes first, but nothing is
// written for a target that can't be reached.
template <typename T>
bool pushReturn(Core& core, const Insn* insn, bool reachable) {
  if (reachable) return core.push<T>(static_cast<T>(core.nextRip(insn)));
  Span span;
  const uint64_t sp = (core.state.gpr[RSP] - sizeof(T)) & core.stackMask;
  return core.spanSlow(SS, sp, sizeof(T), span) && core.raise(vector::GP, 0);
}

struct CallJ : NotLockable {
  template <typename T, Where>
  static const Insn* run(Core& core, const Insn* insn) {
    return pushReturn<T>(core, insn, linked(core, insn)) ? jump(core, insn) : stop(core, insn);
  }
};

struct JmpE : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T target;
    return readE<T, kWhere>(core, insn, target) ? jump(core, insn, target) : stop(core, insn);
  }
};

struct CallE : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T target;
    if (!readE<T, kWhere>(core, insn, target)) return stop(core, insn);
    return pushReturn<T>(core, insn, core.reachable(target)) ? jump(core, insn, target) : stop(core, insn);
  }
};

template <bool kRelease>
struct Ret : NotLockable {
  template <typename T, Where>
  static const Insn* run(Core& core, const Insn* insn) {
    T target;
    if (!core.top(target)) return stop(core, insn);
    if (!core.reachable(target)) return fault(core, insn, vector::GP, 0);
    core.moveStack(static_cast<int64_t>(sizeof(T) + (kRelease ? insn->imm & 0xffff : 0)));
    return jump(core, insn, target);
  }
};

// The address size tells which part of RCX counts.
enum class Until { Zero, ZeroOrNotEqual, ZeroOrEqual };
template <Until kUntil>
struct Loop : NotLockable {
  template <typename T, Where>
  static const Insn* run(Core& core, const Insn* insn) {
    uint64_t mask = insn->addressMask(), count = (core.state.gpr[RCX] - 1) & mask;
    bool taken = count != 0;
    if constexpr (kUntil == Until::ZeroOrNotEqual) taken = taken && core.flags.zf();
    if constexpr (kUntil == Until::ZeroOrEqual) taken = taken && !core.flags.zf();
    if (taken && !linked(core, insn)) return fault(core, insn, vector::GP, 0);
    core.setMasked(RCX, count, mask);
    return taken ? jump(core, insn) : next(core, insn);
  }
};

struct Jcxz : NotLockable {
  template <typename T, Where>
  static const Insn* run(Core& core, const Insn* insn) {
    return (core.state.gpr[RCX] & insn->addressMask()) == 0 ? jump(core, insn) : next(core, insn);
  }
};

struct Bound : NotLockable {
  template <typename T, Where>
  static const Insn* run(Core& core, const Insn* insn) {
    using S = std::make_signed_t<T>;
    T lower, upper;
    uint64_t offset = core.address(insn);
    if (!core.read<T>(insn->segment, offset, lower)) return stop(core, insn);
    S index = static_cast<S>(core.reg<T>(insn->reg));
    const bool below = index < static_cast<S>(lower);
    if (below && !core.amd()) return fault(core, insn, vector::BR);  // AMD's processors read both bounds first
    if (!core.read<T>(insn->segment, (offset + sizeof(T)) & insn->addressMask(), upper)) return stop(core, insn);
    if (below || index > static_cast<S>(upper)) return fault(core, insn, vector::BR);
    return next(core, insn);
  }
};

// With CR4.VME in virtual-8086 mode and CR4.PVI at CPL 3, CLI and STI change VIF if IOPL denies them IF.
bool hasVirtualIf(const Core& core) {
  return core.state.cpl == 3 && (core.state.rflags & kIOPL) != kIOPL && core.state.cr4 & (core.v86() ? kVME : kPVI);
}

// May the interrupt flag be changed?
bool mayMask(Core& core) {
  if (core.realMode()) return true;
  unsigned iopl = static_cast<unsigned>(core.state.rflags >> 12 & 3);
  return core.state.cpl <= iopl || core.raise(vector::GP, 0);
}

}  // namespace

V jmpJ = wideVariantsOf<JmpJ>(), jmpE = wideVariantsOf<JmpE>(), callJ = wideVariantsOf<CallJ>(),
  callE = wideVariantsOf<CallE>(), ret = wideVariantsOf<Ret<false>>(), retI = wideVariantsOf<Ret<true>>(),
  bound = wideVariantsOf<Bound>(), jcxz = wideVariantsOf<Jcxz>();
V loop = wideVariantsOf<Loop<Until::Zero>>(), loope = wideVariantsOf<Loop<Until::ZeroOrNotEqual>>(),
  loopne = wideVariantsOf<Loop<Until::ZeroOrEqual>>();
V jcc[16] = {
    wideVariantsOf<Jcc<0>>(),  wideVariantsOf<Jcc<1>>(),  wideVariantsOf<Jcc<2>>(),  wideVariantsOf<Jcc<3>>(),
    wideVariantsOf<Jcc<4>>(),  wideVariantsOf<Jcc<5>>(),  wideVariantsOf<Jcc<6>>(),  wideVariantsOf<Jcc<7>>(),
    wideVariantsOf<Jcc<8>>(),  wideVariantsOf<Jcc<9>>(),  wideVariantsOf<Jcc<10>>(), wideVariantsOf<Jcc<11>>(),
    wideVariantsOf<Jcc<12>>(), wideVariantsOf<Jcc<13>>(), wideVariantsOf<Jcc<14>>(), wideVariantsOf<Jcc<15>>()};

const Insn* cli(Core& core, const Insn* insn) {
  if (hasVirtualIf(core)) {
    core.state.rflags &= ~kVIF;
    return next(core, insn);
  }
  if (!mayMask(core)) return stop(core, insn);
  core.state.rflags &= ~kIF;
  return next(core, insn);
}

const Insn* sti(Core& core, const Insn* insn) {
  if (hasVirtualIf(core)) {
    if (core.state.rflags & kVIP) return fault(core, insn, vector::GP, 0);
    core.state.rflags |= kVIF;
    return next(core, insn);
  }
  if (!mayMask(core)) return stop(core, insn);
  if (core.state.rflags & kIF) return next(core, insn);
  core.state.rflags |= kIF;
  core.beginShadow(true);
  return leave(core, insn);
}

const Insn* nop(Core& core, const Insn* insn) { return next(core, insn); }

// A register is no operand of AMD's.
const Insn* prefetchw(Core& core, const Insn* insn) {
  return core.amd() && !insn->memory ? fault(core, insn, vector::UD) : next(core, insn);
}

const Insn* fence(Core& core, const Insn* insn) {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return next(core, insn);
}

// Checked as a load; there is no cache to flush.
const Insn* clflush(Core& core, const Insn* insn) {
  uint8_t byte;
  return core.read<uint8_t>(insn->segment, core.address(insn), byte) ? next(core, insn) : stop(core, insn);
}

const Insn* undefined(Core& core, const Insn* insn) { return fault(core, insn, vector::UD); }

const Insn* unknownOpcode(Core& core, const Insn* insn) {
  std::atomic<uint32_t>& count = core.unknownOpcodes[insn->imm];
  count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);  // one writer
  return fault(core, insn, vector::UD);
}

const Insn* instructionTooLong(Core& core, const Insn* insn) { return fault(core, insn, vector::GP, 0); }

const Insn* endOfBlock(Core& core, const Insn* insn) {
  Block* to = insn->link;
  if (to->stamp != core.stamp) {
    if (!(core.block->mode & kModeSingle)) core.unlinked = const_cast<Insn*>(insn);
    return leaveBlock(core, insn);
  }
  core.state.rip = to->rip;
  core.retired += insn->number;
  if (core.retired >= core.deadline.load(std::memory_order_relaxed)) return nullptr;
  core.block = to;
  return to->insns;
}

const Insn* leaveBlock(Core& core, const Insn* insn) {
  core.state.rip = core.rip(insn) & core.ripMask;
  core.retired += insn->number;
  return nullptr;
}

}  // namespace nvmm::cpu
