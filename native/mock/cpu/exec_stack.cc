// PUSH, POP, PUSHA, POPA, ENTER, LEAVE, PUSHF, POPF.
#include "operand.h"

namespace nvmm::cpu {
namespace {

struct PushZ : NotLockable {
  template <typename T, Where>
  static const Insn* run(Core& core, const Insn* insn) {
    return core.push<T>(core.reg<T>(insn->reg)) ? next(core, insn) : stop(core, insn);
  }
};

struct PushE : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T value;
    return readE<T, kWhere>(core, insn, value) && core.push<T>(value) ? next(core, insn) : stop(core, insn);
  }
};

struct PushI : NotLockable {
  template <typename T, Where>
  static const Insn* run(Core& core, const Insn* insn) {
    return core.push<T>(static_cast<T>(insn->imm)) ? next(core, insn) : stop(core, insn);
  }
};

struct PopZ : NotLockable {
  template <typename T, Where>
  static const Insn* run(Core& core, const Insn* insn) {
    T value;
    if (!core.top(value)) return stop(core, insn);
    core.moveStack(sizeof(T));
    core.setReg<T>(insn->reg, value);
    return next(core, insn);
  }
};

// The address of E is computed with RSP as it is after the pop.
struct PopE : NotLockable {
  template <typename T, Where kWhere>
  static const Insn* run(Core& core, const Insn* insn) {
    T value;
    if (!core.top(value)) return stop(core, insn);
    uint64_t sp = core.state.gpr[RSP];
    core.moveStack(sizeof(T));
    if (!writeE<T, kWhere>(core, insn, value)) {
      core.state.gpr[RSP] = sp;
      return stop(core, insn);
    }
    return next(core, insn);
  }
};

struct Pusha : NotLockable {
  template <typename T, Where>
  static const Insn* run(Core& core, const Insn* insn) {
    uint64_t old = core.state.gpr[RSP];
    for (Gpr r : {RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI}) {
      if (!core.push<T>(static_cast<T>(r == RSP ? old : core.state.gpr[r]))) {
        core.state.gpr[RSP] = old;
        return stop(core, insn);
      }
    }
    return next(core, insn);
  }
};

struct Popa : NotLockable {
  template <typename T, Where>
  static const Insn* run(Core& core, const Insn* insn) {
    T values[8];
    for (unsigned i = 0; i < 8; ++i) {
      if (!core.read<T>(SS, (core.state.gpr[RSP] + i * sizeof(T)) & core.stackMask, values[i])) return stop(core, insn);
    }
    core.moveStack(sizeof(values));
    for (unsigned i = 0; i < 8; ++i) {
      if (7 - i != RSP) core.setReg<T>(7 - i, values[i]);
    }
    return next(core, insn);
  }
};

struct Enter : NotLockable {
  template <typename T, Where>
  static const Insn* run(Core& core, const Insn* insn) {
    unsigned level = insn->imm & 31;
    uint64_t oldSp = core.state.gpr[RSP], frame = core.state.gpr[RBP];
    bool done = core.push<T>(core.reg<T>(RBP));
    uint64_t newFrame = core.state.gpr[RSP];
    for (unsigned i = 1; done && i < level; ++i) {
      T link;
      frame -= sizeof(T);
      done = core.read<T>(SS, frame & core.stackMask, link) && core.push<T>(link);
    }
    if (done && level) done = core.push<T>(static_cast<T>(newFrame));
    if (done) {
      core.moveStack(-static_cast<int64_t>(insn->selector));
      // The new top of the stack must be writable, though nothing is written.
      uint64_t top = core.state.gpr[RSP] & core.stackMask;
      Span span;
      done = core.writable<T>(SS, top) || core.spanSlow(SS, top, sizeof(T), span);
    }
    if (!done) {
      core.state.gpr[RSP] = oldSp;
      return stop(core, insn);
    }
    core.setReg<T>(RBP, static_cast<T>(newFrame));
    return next(core, insn);
  }
};

struct Leave : NotLockable {
  template <typename T, Where>
  static const Insn* run(Core& core, const Insn* insn) {
    T value;
    uint64_t frame = core.state.gpr[RBP];
    if (!core.read<T>(SS, frame & core.stackMask, value)) return stop(core, insn);
    core.setMasked(RSP, frame + sizeof(T), core.stackMask);
    core.setReg<T>(RBP, value);
    return next(core, insn);
  }
};

// In virtual-8086 mode IOPL must be 3; else CR4.VME lets 16-bit PUSHF and POPF work with VIF in the place of IF.
bool trusted(Core& core) { return !core.v86() || (core.state.rflags & kIOPL) == kIOPL; }
bool hasVirtualIf(const Core& core, unsigned size) { return core.state.cr4 & kVME && size == 2; }

struct Pushf : NotLockable {
  template <typename T, Where>
  static const Insn* run(Core& core, const Insn* insn) {
    uint64_t image = core.rflags() & ~(kVM | kRF);
    if (!trusted(core)) {
      if (!hasVirtualIf(core, sizeof(T))) return fault(core, insn, vector::GP, 0);
      image = (image & ~kIF) | kIOPL | (image & kVIF ? kIF : 0);
    }
    return core.push<T>(static_cast<T>(image)) ? next(core, insn) : stop(core, insn);
  }
};

struct Popf : NotLockable {
  template <typename T, Where>
  static const Insn* run(Core& core, const Insn* insn) {
    T top;
    if (!trusted(core) && !hasVirtualIf(core, sizeof(T))) return fault(core, insn, vector::GP, 0);
    if (!core.top(top)) return stop(core, insn);
    uint64_t value = top;
    uint64_t mask = kArithmeticFlags | kTF | kDF | kNT | kAC | kID;
    unsigned iopl = static_cast<unsigned>(core.state.rflags >> 12 & 3);
    if (core.realMode() || core.state.cpl == 0) mask |= kIOPL;
    if (core.realMode() || core.state.cpl <= iopl) mask |= kIF;
    if (sizeof(T) == 2) mask &= 0xffff;
    if (!trusted(core)) {
      if (value & kTF || (value & kIF && core.state.rflags & kVIP)) return fault(core, insn, vector::GP, 0);
      mask |= kVIF;
      if (value & kIF) value |= kVIF;
    }
    core.moveStack(sizeof(T));
    uint64_t old = core.state.rflags;
    core.setRflags((((old & ~mask) | (value & mask))) & ~kRF);
    uint64_t changed = (old ^ core.state.rflags) | (core.state.rflags & kTF);
    if (!(changed & (kTF | kIF | kAC | kRF))) return next(core, insn);
    if (changed & kAC) core.updateMode();
    return leave(core, insn);
  }
};

}  // namespace

V pushZ = wideVariantsOf<PushZ>(), pushE = wideVariantsOf<PushE>(), pushI = wideVariantsOf<PushI>(),
  popZ = wideVariantsOf<PopZ>(), popE = wideVariantsOf<PopE>(), pusha = wideVariantsOf<Pusha>(),
  popa = wideVariantsOf<Popa>(), enter = wideVariantsOf<Enter>(), leave_ = wideVariantsOf<Leave>(),
  pushf = wideVariantsOf<Pushf>(), popf = wideVariantsOf<Popf>();

}  // namespace nvmm::cpu
