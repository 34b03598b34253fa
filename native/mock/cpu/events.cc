// Interrupts and exceptions: their delivery through the IVT or IDT, double and triple faults, IRET, debug exceptions.
#include "handlers.h"
#include "segments.h"

namespace nvmm::cpu {
namespace {

bool isSoftware(EventKind kind) {
  return kind == EventKind::SoftwareInterrupt || kind == EventKind::SoftwareException ||
         kind == EventKind::PrivilegedSoftwareException;
}

// Faults push RF = 1, so that the instruction breakpoint does not hit again when they return; traps and aborts do not.
bool isFault(const Event& event) {
  if (event.kind != EventKind::HardwareException) return false;
  switch (event.vector) {
    case vector::DB:
    case vector::BP:
    case vector::OF:
    case vector::DF:
    case vector::MC: return false;
    default: return true;
  }
}

bool isContributory(unsigned v) { return v == vector::DE || (v >= vector::TS && v <= vector::GP); }

// An exception while another one is delivered: whether both together are a double fault.
bool isDoubleFault(const Event& first, unsigned second) {
  if (first.kind != EventKind::HardwareException) return false;
  if (isContributory(first.vector)) return isContributory(second);
  return first.vector == vector::PF && (second == vector::PF || isContributory(second));
}

uint64_t returnRip(const Core& core, const Event& event) {
  return isSoftware(event.kind) ? event.nextRip : core.state.rip;
}

// RFLAGS as they are pushed.
uint64_t pushedFlags(const Core& core, const Event& event) {
  uint64_t flags = core.rflags();
  if (isFault(event)) return flags | kRF;
  return isSoftware(event.kind) ? flags & ~kRF : flags;
}

// The exceptions that push an error code: an injected event may claim one for others, too.
bool hasErrorCode(unsigned v) { return v == vector::DF || (v >= vector::TS && v <= vector::PF) || v == vector::AC; }

// ---- Real mode, and software interrupts that virtual-8086 mode extensions redirect ----------------------------------
bool deliverReal(Core& core, const Event& event, uint64_t table, uint32_t limit, uint64_t pushed, uint64_t flags) {
  const State& state = core.state;
  const unsigned offset = event.vector * 4u;
  uint16_t entry[2];
  if (offset + 3 > limit) return core.raise(vector::GP, 0);
  if (!core.readLinear(table + offset, entry, sizeof(entry), true)) return false;
  StackFrame frame(core, state.seg[SS], state.gpr[RSP], false, false, 0);
  if (!frame.push(pushed, 2) || !frame.push(state.seg[CS].selector, 2)) return false;
  if (!frame.push(returnRip(core, event), 2)) return false;
  if (entry[0] > state.seg[CS].limit) return core.raise(vector::GP, 0);
  frame.commit();
  core.setRflags(flags & ~(kTF | kRF | kAC));
  loadRealCs(core, entry[1]);
  core.state.rip = entry[0];
  return true;
}

// CR4.VME: INT n in virtual-8086 mode goes to the program's own IVT, unless the bitmap below the I/O bitmap says no.
bool redirected(Core& core, const Event& event, bool& redirect) {
  redirect = false;
  const Segment& tr = core.state.tr;
  uint16_t map;
  uint8_t bits;
  if (!(core.state.cr4 & kVME) || (tr.type() & ~kTssBusy) != kTss32 || tr.limit < 0x67) return true;
  if (!core.readLinear(tr.base + 0x66, &map, 2, true)) return false;
  const uint32_t byte = map - 32u + event.vector / 8u;
  if (map < 32 || byte > tr.limit) return core.raise(vector::GP, 0);
  if (!core.readLinear(tr.base + byte, &bits, 1, true)) return false;
  redirect = !(bits >> (event.vector & 7) & 1);
  return true;
}

bool deliverRedirected(Core& core, const Event& event) {
  uint64_t flags = core.rflags();
  if ((flags & kIOPL) == kIOPL) return deliverReal(core, event, 0, 0x3ff, flags, flags & ~kIF);
  uint64_t pushed = (flags & ~kIF) | kIOPL | (flags & kVIF ? kIF : 0);
  return deliverReal(core, event, 0, 0x3ff, pushed, flags & ~kVIF);
}

// ---- Protected mode -------------------------------------------------------------------------------------------------
uint32_t vectorError(const Core& core, const Event& event) {
  constexpr uint32_t kIdt = 2;
  return event.vector * 8u | kIdt | core.delivery.ext;
}

// Reads the gate, with the checks that do not depend on its type.
bool readGate(Core& core, const Event& event, Descriptor& gate) {
  const unsigned size = core.longMode() ? 16 : 8;
  const uint32_t offset = event.vector * size, error = vectorError(core, event);
  if (offset + size - 1 > core.state.idtr.limit) return core.raise(vector::GP, error);
  gate = {0, 0, core.state.idtr.base + offset};
  if (!core.readLinear(gate.address, &gate.low, 8, true)) return false;
  if (size == 16 && !core.readLinear(gate.address + 8, &gate.high, 8, true)) return false;
  gate.high &= 0xffffffff;

  const unsigned type = gate.type();
  bool right = type == kInterruptGate32 || type == kTrapGate32;
  if (!core.longMode()) right |= type == kInterruptGate16 || type == kTrapGate16 || type == kTaskGate;
  if (!gate.system() || !right) return core.raise(vector::GP, error);
  bool byProgram = event.kind == EventKind::SoftwareInterrupt || event.kind == EventKind::SoftwareException;
  if (byProgram && gate.dpl() < core.state.cpl) return core.raise(vector::GP, error);
  return gate.present() || core.raise(vector::NP, error);
}

// The handler's code segment. `inner`: it has more privilege.
bool readHandler(Core& core, const Descriptor& gate, Descriptor& code, bool& inner) {
  const uint16_t selector = gate.gateSelector();
  if (isNull(selector)) return core.raise(vector::GP, core.delivery.ext);
  if (!readDescriptor(core, selector, vector::GP, code)) return false;
  bool privileged = code.dpl() <= core.state.cpl;
  if (core.longMode() && !(code.attrib() & kLongBit)) privileged = false;
  inner = !isConforming(code.segment(selector)) && code.dpl() < core.state.cpl;
  if (core.v86() && !(inner && code.dpl() == 0)) privileged = false;
  return checkCode(core, selector, code, privileged);
}

void enterHandler(Core& core, const Descriptor& gate, const Descriptor& code, unsigned cpl, uint64_t offset) {
  uint64_t cleared = kTF | kNT | kRF | kVM;
  if (gate.type() == kInterruptGate16 || gate.type() == kInterruptGate32) cleared |= kIF;
  core.setRflags(core.rflags() & ~cleared);
  loadCs(core, gate.gateSelector(), code, cpl);
  core.state.rip = offset;
}

bool deliverLegacy(Core& core, const Event& event) {
  State& state = core.state;
  if (core.v86() && event.kind == EventKind::SoftwareInterrupt) {
    bool redirect;
    if (!redirected(core, event, redirect)) return false;
    if (redirect) return deliverRedirected(core, event);
    if ((state.rflags & kIOPL) != kIOPL) return core.raise(vector::GP, 0);
  }
  Descriptor gate, code;
  if (!readGate(core, event, gate)) return false;
  if (gate.type() == kTaskGate) {
    return switchTask(core, gate.gateSelector(), TaskSwitch::Gate, returnRip(core, event), event.hasError, event.error);
  }
  bool inner;
  if (!readHandler(core, gate, code, inner)) return false;
  const unsigned cpl = inner ? code.dpl() : state.cpl;
  const unsigned size = gate.type() == kInterruptGate32 || gate.type() == kTrapGate32 ? 4 : 2;
  uint64_t offset = gate.gateOffset() & sizeMask(size);

  Segment ss = state.seg[SS];
  uint64_t sp = state.gpr[RSP];
  if (inner && !innerStack(core, cpl, ss, sp)) return false;
  StackFrame frame(core, ss, sp, false, inner, inner ? selectorError(core, ss.selector) : core.delivery.ext);
  const bool fromV86 = core.v86();
  if (fromV86) {
    for (unsigned seg : {GS, FS, DS, ES}) {
      if (!frame.push(state.seg[seg].selector, size)) return false;
    }
  }
  if (inner && (!frame.push(state.seg[SS].selector, size) || !frame.push(state.gpr[RSP], size))) return false;
  if (!frame.push(pushedFlags(core, event), size) || !frame.push(state.seg[CS].selector, size)) return false;
  if (!frame.push(returnRip(core, event), size)) return false;
  if (event.hasError && !frame.push(event.error, size)) return false;
  if (!checkOffset(core, code, offset) || !setType(core, code, kAccessed)) return false;

  frame.commit();
  if (inner) state.seg[SS] = ss;
  enterHandler(core, gate, code, cpl, offset);
  if (fromV86) {
    for (unsigned seg : {GS, FS, DS, ES}) loadNull(core, seg, 0);
  }
  return true;
}

bool deliverLong(Core& core, const Event& event) {
  State& state = core.state;
  Descriptor gate, code;
  bool inner;
  if (!readGate(core, event, gate) || !readHandler(core, gate, code, inner)) return false;
  const unsigned cpl = inner ? code.dpl() : state.cpl;
  uint64_t sp = state.gpr[RSP];
  if (gate.gateIst()) {
    if (!innerStack64(core, istOffset(gate.gateIst()), sp)) return false;
  } else if (inner) {
    if (!innerStack64(core, rspOffset(cpl), sp)) return false;
  }
  StackFrame frame(core, state.seg[SS], sp & ~uint64_t{15}, true, inner, core.delivery.ext);
  const uint64_t values[] = {state.seg[SS].selector, state.gpr[RSP], pushedFlags(core, event), state.seg[CS].selector,
                             returnRip(core, event)};
  for (uint64_t value : values) {
    if (!frame.push(value, 8)) return false;
  }
  if (event.hasError && !frame.push(event.error, 8)) return false;
  uint64_t offset = gate.gateOffset();
  if (!checkOffset(core, code, offset) || !setType(core, code, kAccessed)) return false;

  frame.commit();
  if (inner) state.seg[SS] = nullStack(cpl);
  enterHandler(core, gate, code, cpl, offset);
  return true;
}

bool deliverOnce(Core& core, const Event& event) {
  if (core.realMode()) {
    uint64_t pushed = pushedFlags(core, event);
    return deliverReal(core, event, core.state.idtr.base, core.state.idtr.limit, pushed, core.rflags() & ~kIF);
  }
  return core.longMode() ? deliverLong(core, event) : deliverLegacy(core, event);
}

}  // namespace

bool Core::deliver(const Event& first) {
  Event event = first;
  event.hasError = event.hasError && hasErrorCode(event.vector);
  delivery.active = true;
  for (;;) {
    outcome = Outcome::Continue;
    // INT n, INT3 and INTO are the program's; INT1 counts as external.
    bool byProgram = event.kind == EventKind::SoftwareInterrupt || event.kind == EventKind::SoftwareException;
    delivery.ext = !byProgram;
    if (deliverOnce(*this, event)) break;
    if (outcome == Outcome::Exit) break;
    if (event.kind == EventKind::HardwareException && event.vector == vector::DF) {
      leaveWith(ExitKind::Shutdown);
      break;
    }
    if (isDoubleFault(event, exception.vector)) {
      event = {EventKind::HardwareException, vector::DF, true, 0, 0};
    } else {
      event = {EventKind::HardwareException, exception.vector, exception.hasError, exception.error, 0};
    }
  }
  delivery = {};
  if (outcome == Outcome::Exit) {
    if (exit.kind == ExitKind::Shutdown) return false;
    exit.deliveryInterrupted = true;
    exit.event = event;
    if (exit.kind == ExitKind::Memory && model.vendor == Vendor::Intel) {
      state.rflags = (state.rflags & ~kRF) | (pushedFlags(*this, event) & kRF);
    }
    return false;
  }
  constexpr uint64_t kGeneralDetect = 1 << 13;
  if (event.kind == EventKind::Nmi) state.nmiBlocked = true;
  if (event.kind == EventKind::HardwareException && event.vector == vector::DB) state.dr7 &= ~kGeneralDetect;
  state.interruptShadow = false;
  stepTrap = false;
  return true;
}

bool Core::deliverException() {
  return deliver({EventKind::HardwareException, exception.vector, exception.hasError, exception.error, 0});
}

// ---- Debug exceptions -----------------------------------------------------------------------------------------------
bool Core::deliverDebugTrap() {
  state.dr6 = (state.dr6 & ~uint64_t{0xf}) | pendingDebug;
  pendingDebug = 0;
  return deliver({EventKind::HardwareException, vector::DB, false, 0, 0});
}

bool Core::checkInstructionBreakpoint() {
  if (state.rflags & kRF) return true;
  const uint64_t linear = code64() ? state.rip : (state.seg[CS].base + state.rip) & 0xffffffff;
  uint64_t hits = 0;
  for (unsigned i = 0; i < 4; ++i) {
    bool enabled = state.dr7 >> i * 2 & 3, execution = !(state.dr7 >> (16 + i * 4) & 0xf);
    if (enabled && execution && state.dr[i] == linear) hits |= 1u << i;
  }
  if (!hits) return true;
  state.dr6 = (state.dr6 & ~uint64_t{0xf}) | hits;
  return raise(vector::DB);
}

// ---- INT n and its kin ----------------------------------------------------------------------------------------------
namespace {

const Insn* interrupt(Core& core, const Insn* insn, EventKind kind, unsigned v) {
  Event event = {kind, static_cast<uint8_t>(v), false, 0, 0};
  event.nextRip = begin(core, insn);
  return end(core, core.deliver(event));
}

}  // namespace

const Insn* int3(Core& core, const Insn* insn) {
  return interrupt(core, insn, EventKind::SoftwareException, vector::BP);
}
const Insn* intN(Core& core, const Insn* insn) {
  return interrupt(core, insn, EventKind::SoftwareInterrupt, insn->imm & 0xff);
}
const Insn* into(Core& core, const Insn* insn) {
  if (!core.flags.of()) return next(core, insn);
  return interrupt(core, insn, EventKind::SoftwareException, vector::OF);
}
const Insn* int1(Core& core, const Insn* insn) {
  return interrupt(core, insn, EventKind::PrivilegedSoftwareException, vector::DB);
}

// ---- IRET -----------------------------------------------------------------------------------------------------------
namespace {

// What IRET may change of RFLAGS at any privilege.
uint64_t commonFlags(unsigned operandSize) {
  return kArithmeticFlags | kTF | kDF | kNT | (operandSize > 2 ? kRF | kAC | kID : 0);
}

void loadFlags(Core& core, uint64_t flags, uint64_t mask) {
  const uint64_t before = core.rflags();
  core.setRflags((before & ~mask) | (flags & mask));
  core.rfLoaded = core.state.rflags & kRF;
  if ((before ^ core.state.rflags) & (kVM | kAC)) core.updateMode();
}

// Real and virtual-8086 mode.
bool iretReal(Core& core, unsigned size, uint64_t rip, uint16_t cs, uint64_t flags) {
  uint64_t mask = commonFlags(size) | kIF;
  if (!core.v86()) {
    mask |= kIOPL;
  } else if ((core.state.rflags & kIOPL) != kIOPL) {
    if (!(core.state.cr4 & kVME) || size != 2) return core.raise(vector::GP, 0);
    if (flags & kTF || (flags & kIF && core.state.rflags & kVIP)) return core.raise(vector::GP, 0);
    mask = (mask & ~kIF) | kVIF;
    flags = (flags & ~kVIF) | (flags & kIF ? kVIF : 0);
  }
  if (rip > core.codeLimit) return core.raise(vector::GP, 0);
  core.moveStack(3 * size);
  loadRealCs(core, cs);
  core.state.rip = rip;
  loadFlags(core, flags, mask);
  return true;
}

bool iretToV86(Core& core, uint64_t rip, uint16_t cs, uint64_t flags) {
  uint64_t sp;
  uint16_t selectors[5];
  if (!peek(core, 12, 4, sp)) return false;
  for (unsigned i = 0; i < 5; ++i) {
    if (!peekSelector(core, 16 + i * 4, 4, selectors[i])) return false;
  }
  if (rip > 0xffff) return core.raise(vector::GP, 0);
  State& state = core.state;
  state.cpl = 3;
  state.gpr[RSP] = sp;
  state.rip = rip;
  loadFlags(core, flags, commonFlags(4) | kIF | kIOPL | kVM | kVIF | kVIP);
  loadRealCs(core, cs);
  constexpr Seg kOrder[] = {SS, ES, DS, FS, GS};
  for (unsigned i = 0; i < 5; ++i) core.loadSegment(kOrder[i], selectors[i]);
  return true;
}

bool iretProtected(Core& core, unsigned size, uint64_t rip, uint16_t cs, uint64_t flags) {
  const unsigned cpl = core.state.cpl, iopl = (core.state.rflags & kIOPL) >> 12;
  if (flags & kVM && cpl == 0 && size == 4 && !core.longMode()) return iretToV86(core, rip, cs, flags);
  uint64_t mask = commonFlags(size);
  if (cpl <= iopl) mask |= kIF;
  if (cpl == 0) mask |= size > 2 ? kIOPL | kVIF | kVIP : kIOPL;
  if (!returnTo(core, cs, rip, size, 3 * size, 0, core.code64())) return false;
  loadFlags(core, flags, mask);
  return true;
}

bool returnFromTask(Core& core, uint64_t next) {
  uint16_t link;
  if (core.longMode()) return core.raise(vector::GP, 0);
  if (!core.readLinear(core.state.tr.base, &link, 2, true)) return false;
  return switchTask(core, link, TaskSwitch::Return, next);
}

bool iretAny(Core& core, unsigned size, uint64_t next) {
  const bool likeReal = core.realMode() || core.v86();
  if (!likeReal && core.state.rflags & kNT) return returnFromTask(core, next);
  uint64_t rip, flags;
  uint16_t cs;
  if (!peek(core, 0, size, rip) || !peekSelector(core, size, size, cs) || !peek(core, 2 * size, size, flags))
    return false;
  return likeReal ? iretReal(core, size, rip, cs, flags) : iretProtected(core, size, rip, cs, flags);
}

}  // namespace

const Insn* iret(Core& core, const Insn* insn) {
  if (core.controls.interceptIret) return exitAt(core, insn, ExitKind::Iret);
  uint64_t next = begin(core, insn);
  if (!iretAny(core, insn->operandSize, next)) return end(core, false);
  core.state.nmiBlocked = false;
  core.serialize();
  return end(core, true);
}

}  // namespace nvmm::cpu
