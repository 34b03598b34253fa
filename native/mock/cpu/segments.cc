// Segment registers, far transfers, and the I/O permission bitmap.
#include "segments.h"

#include <algorithm>

#include "handlers.h"

namespace nvmm::cpu {

// ---- Descriptors ----------------------------------------------------------------------------------------------------
bool findDescriptor(const Core& core, uint16_t selector, unsigned size, uint64_t& linear) {
  uint32_t offset = selector & ~7u;
  bool local = selector & kTableIndicator;
  const Segment& ldtr = core.state.ldtr;
  if (local && !ldtr.present()) return false;
  uint32_t limit = local ? ldtr.limit : core.state.gdtr.limit;
  linear = (local ? ldtr.base : core.state.gdtr.base) + offset;
  return offset + size - 1 <= limit;
}

bool readDescriptor(Core& core, uint16_t selector, uint8_t vector, Descriptor& descriptor) {
  if (!findDescriptor(core, selector, 8, descriptor.address)) return raiseFor(core, vector, selector);
  if (!core.readLinear(descriptor.address, &descriptor.low, 8, true)) return false;
  descriptor.high = 0;
  if (!core.longMode() || !descriptor.system()) return true;
  uint64_t again;
  if (!findDescriptor(core, selector, 16, again)) return raiseFor(core, vector, selector);
  if (!core.readLinear(descriptor.address + 8, &descriptor.high, 8, true)) return false;
  if (descriptor.high >> 40 & 0x1f) return raiseFor(core, vector, selector);  // the type of this half must be 0
  descriptor.high &= 0xffffffff;
  return true;
}

bool setType(Core& core, const Descriptor& descriptor, uint8_t bits) {
  if ((descriptor.type() & bits) == bits) return true;
  Span span;
  if (!core.spanLinear(descriptor.address + 5, 1, Access::Write, true, span)) return false;
  __atomic_fetch_or(span.host, bits, __ATOMIC_SEQ_CST);
  core.wrote(span.host, 1);
  return true;
}

bool checkCode(Core& core, uint16_t selector, const Descriptor& code, bool privileged) {
  Segment s = code.segment(selector);
  if (!isCode(s) || !privileged) return raiseFor(core, vector::GP, selector);
  if (!s.present()) return raiseFor(core, vector::NP, selector);
  if (core.longMode() && s.longMode() && s.big()) return raiseFor(core, vector::GP, selector);
  return true;
}

// Returns with a 64-bit operand size to compatibility mode: AMD's processors hold the whole offset against the limit.
bool checkOffset(Core& core, const Descriptor& code, uint64_t& offset) {
  const bool wide = core.longMode() && code.attrib() & kLongBit;
  if (!wide && !core.amd()) offset &= 0xffffffff;
  return (wide ? core.canonical(offset) : offset <= code.limit()) || core.raise(vector::GP, core.delivery.ext);
}

bool checkStack(Core& core, uint16_t selector, const Descriptor& stack, unsigned cpl, uint8_t vector) {
  if (rpl(selector) != cpl || stack.dpl() != cpl || !isWritableData(stack.segment(selector))) {
    return raiseFor(core, vector, selector);
  }
  return stack.present() || raiseFor(core, vector::SS, selector);
}

void loadCs(Core& core, uint16_t selector, const Descriptor& code, unsigned cpl) {
  core.state.seg[CS] = code.segment(static_cast<uint16_t>((selector & ~kRpl) | cpl));
  core.state.seg[CS].attrib |= kAccessed;
  core.state.cpl = cpl;
  core.updateMode();
}

// In real mode limit and rights stay what they were.
void loadRealCs(Core& core, uint16_t selector) {
  Segment& cs = core.state.seg[CS];
  cs.selector = selector;
  cs.base = uint32_t{selector} << 4;
  if (core.v86()) cs.limit = 0xffff, cs.attrib = kV86Attrib;
  core.updateMode();
}

void loadNull(Core& core, unsigned seg, uint16_t selector) {
  core.state.seg[seg] = {selector, 0, 0, 0};
  core.updateSegment(seg);
}

Segment nullStack(unsigned cpl) { return {static_cast<uint16_t>(cpl), dplBits(cpl), 0, 0}; }

void dropPrivilegedSegments(Core& core) {
  for (unsigned seg : {ES, DS, FS, GS}) {
    const Segment& s = core.state.seg[seg];
    if (s.present() && s.dpl() < core.state.cpl && !isConforming(s)) loadNull(core, seg, 0);
  }
}

// ---- Stacks ---------------------------------------------------------------------------------------------------------
bool innerStack(Core& core, unsigned cpl, Segment& ss, uint64_t& sp) {
  const Segment& tr = core.state.tr;
  const bool wide = (tr.type() & ~kTssBusy) == kTss32;
  const unsigned size = wide ? 4 : 2, offset = size + cpl * size * 2;
  uint16_t selector;
  sp = 0;
  if (offset + size + 1 > tr.limit) return raiseFor(core, vector::TS, tr.selector);
  if (!core.readLinear(tr.base + offset, &sp, size, true)) return false;
  if (!core.readLinear(tr.base + offset + size, &selector, 2, true)) return false;

  Descriptor stack;
  if (isNull(selector)) return raiseFor(core, vector::TS, 0);
  if (!readDescriptor(core, selector, vector::TS, stack)) return false;
  if (!checkStack(core, selector, stack, cpl, vector::TS)) return false;
  if (!setType(core, stack, kAccessed)) return false;
  ss = stack.segment(selector);
  ss.attrib |= kAccessed;
  return true;
}

bool innerStack64(Core& core, unsigned offset, uint64_t& sp) {
  const Segment& tr = core.state.tr;
  if (offset + 7 > tr.limit) return raiseFor(core, vector::TS, tr.selector);
  return core.readLinear(tr.base + offset, &sp, 8, true);
}

bool peek(Core& core, unsigned offset, unsigned size, uint64_t& value) {
  const uint64_t from = (core.state.gpr[RSP] + offset) & core.stackMask;
  if (size == 8) return core.read<uint64_t>(SS, from, value);
  uint32_t low = 0;
  uint16_t word = 0;
  const bool done = size == 4 ? core.read(SS, from, low) : core.read(SS, from, word);
  value = size == 4 ? low : word;
  return done;
}

// Intel's processors read only the two bytes of a slot that are the selector.
bool peekSelector(Core& core, unsigned offset, unsigned size, uint16_t& selector) {
  if (!core.amd()) return core.read(SS, (core.state.gpr[RSP] + offset) & core.stackMask, selector);
  uint64_t slot;
  if (!peek(core, offset, size, slot)) return false;
  selector = static_cast<uint16_t>(slot);
  return true;
}

bool StackFrame::push(uint64_t value, unsigned size) {
  uint64_t sp = (sp_ - size) & mask_;
  bool inside = wide_ ? core_.canonical(sp) && core_.canonical(sp + size - 1)
                      : withinLimit(ss_, core_.protectedMode() && !core_.v86(), !core_.amd(), sp, size);
  if (!inside) return core_.raise(vector::SS, error_);
  uint64_t linear = wide_ ? sp : (ss_.base + sp) & 0xffffffff;
  // Not while an event is delivered: #AC in the delivery of #GP, and #GP in that of #AC, would follow each other for
  // ever.
  if (!supervisor_ && !core_.delivery.active && misaligned(core_, linear, size)) return core_.raise(vector::AC, 0);
  Item& item = items_[count_];
  if (!core_.spanLinear(linear, size, Access::Write, supervisor_, item.span)) return false;
  item.value = value;
  item.size = size;
  ++count_;
  sp_ = sp;
  return true;
}

void StackFrame::commit() {
  for (unsigned i = 0; i < count_; ++i) core_.storeSpan(items_[i].span, &items_[i].value, items_[i].size);
  core_.state.gpr[RSP] = mask_ == 0xffff ? (full_ & ~mask_) | sp_ : sp_;
}

// ---- Data segments --------------------------------------------------------------------------------------------------
bool Core::loadSegment(unsigned seg, uint16_t selector) {
  Segment& s = state.seg[seg];
  auto loaded = [this, seg] {
    if (seg == SS)
      updateMode();
    else
      updateSegment(seg);
    return true;
  };
  if (realMode() || v86()) {
    s.selector = selector;
    s.base = uint32_t{selector} << 4;
    if (v86()) s.limit = 0xffff, s.attrib = kV86Attrib;
    return loaded();
  }
  if (isNull(selector)) {
    if (seg != SS) return loadNull(*this, seg, selector), true;
    if (!code64() || state.cpl == 3 || rpl(selector) != state.cpl) return raise(vector::GP, 0);
    s = nullStack(state.cpl);
    return loaded();
  }

  Descriptor descriptor;
  if (!readDescriptor(*this, selector, vector::GP, descriptor)) return false;
  if (seg == SS) {
    if (!checkStack(*this, selector, descriptor, state.cpl, vector::GP)) return false;
  } else {
    Segment candidate = descriptor.segment(selector);
    bool privileged = isConforming(candidate) || (rpl(selector) <= descriptor.dpl() && state.cpl <= descriptor.dpl());
    if (!isReadable(candidate) || !privileged) return raiseFor(*this, vector::GP, selector);
    if (!descriptor.present()) return raiseFor(*this, vector::NP, selector);
  }
  if (!setType(*this, descriptor, kAccessed)) return false;
  s = descriptor.segment(selector);
  s.attrib |= kAccessed;
  return loaded();
}

// ---- Far transfers --------------------------------------------------------------------------------------------------
namespace {

bool privilegedFor(const Core& core, uint16_t selector, const Descriptor& code) {
  const unsigned cpl = core.state.cpl;
  return isConforming(code.segment(selector)) ? code.dpl() <= cpl : rpl(selector) <= cpl && code.dpl() == cpl;
}

// Checks a gate or TSS that a far JMP or CALL names.
bool checkGate(Core& core, uint16_t selector, const Descriptor& gate) {
  if (gate.dpl() < core.state.cpl || gate.dpl() < rpl(selector)) return raiseFor(core, vector::GP, selector);
  return gate.present() || raiseFor(core, vector::NP, selector);
}

// A system descriptor that leads to another task. False: not of that kind, or something is recorded.
bool taskTarget(Core& core, uint16_t selector, const Descriptor& descriptor, TaskSwitch why, uint64_t next) {
  if (!checkGate(core, selector, descriptor)) return false;
  if (descriptor.type() != kTaskGate) return switchTask(core, selector, why, next);
  return switchTask(core, descriptor.gateSelector(), why, next);
}

bool namesTask(const Core& core, const Descriptor& descriptor) {
  if (core.longMode()) return false;
  unsigned type = descriptor.type();
  return type == kTaskGate || type == kTss16 || type == kTss32;
}

bool namesCallGate(const Core& core, const Descriptor& descriptor) {
  return descriptor.type() == kCallGate32 || (!core.longMode() && descriptor.type() == kCallGate16);
}

// The code segment behind a call gate.
bool readGateTarget(Core& core, const Descriptor& gate, bool jump, Descriptor& code) {
  const uint16_t selector = gate.gateSelector();
  if (isNull(selector)) return core.raise(vector::GP, core.delivery.ext);
  if (!readDescriptor(core, selector, vector::GP, code)) return false;
  bool conforming = isConforming(code.segment(selector));
  bool privileged = jump && !conforming ? code.dpl() == core.state.cpl : code.dpl() <= core.state.cpl;
  if (core.longMode() && !(code.attrib() & kLongBit)) privileged = false;
  return checkCode(core, selector, code, privileged);
}

bool jumpGate(Core& core, const Descriptor& gate) {
  Descriptor code;
  if (!readGateTarget(core, gate, true, code)) return false;
  uint64_t offset = gate.gateOffset();
  if (gate.type() == kCallGate16) offset &= 0xffff;
  if (!checkOffset(core, code, offset) || !setType(core, code, kAccessed)) return false;
  loadCs(core, gate.gateSelector(), code, core.state.cpl);
  core.state.rip = offset;
  return true;
}

bool callGate(Core& core, const Descriptor& gate, uint64_t next) {
  Descriptor code;
  if (!readGateTarget(core, gate, false, code)) return false;
  State& state = core.state;
  const bool wide = core.longMode();
  const unsigned size = wide ? 8 : gate.type() == kCallGate16 ? 2 : 4;
  const uint16_t selector = gate.gateSelector();
  uint64_t offset = gate.gateOffset() & sizeMask(size);
  const Segment oldSs = state.seg[SS];
  const bool inner = !isConforming(code.segment(selector)) && code.dpl() < state.cpl;
  const unsigned cpl = inner ? code.dpl() : state.cpl;
  if (!checkOffset(core, code, offset)) return false;

  Segment ss = oldSs;
  uint64_t sp = state.gpr[RSP];
  uint32_t parameters[31];
  if (inner) {
    if (wide) {
      if (!innerStack64(core, rspOffset(cpl), sp)) return false;
    } else {
      if (!innerStack(core, cpl, ss, sp)) return false;
      for (unsigned i = 0; i < gate.gateParameters(); ++i) {
        parameters[i] = 0;
        uint64_t from = (state.gpr[RSP] + i * size) & core.stackMask;
        if (size == 2 ? !core.readSlow(SS, from, &parameters[i], 2) : !core.read(SS, from, parameters[i])) return false;
      }
    }
  }
  StackFrame frame(core, ss, sp, wide, inner, inner ? selectorError(core, ss.selector) : core.delivery.ext);
  if (inner) {
    if (!frame.push(oldSs.selector, size) || !frame.push(state.gpr[RSP], size)) return false;
    if (!wide) {
      for (unsigned i = gate.gateParameters(); i-- > 0;) {
        if (!frame.push(parameters[i], size)) return false;
      }
    }
  }
  if (!frame.push(state.seg[CS].selector, size) || !frame.push(next, size)) return false;
  if (!setType(core, code, kAccessed)) return false;
  frame.commit();
  if (inner) state.seg[SS] = wide ? nullStack(cpl) : ss;
  loadCs(core, selector, code, cpl);
  state.rip = offset;
  return true;
}

}  // namespace

bool Core::jumpFar(uint16_t selector, uint64_t offset, unsigned operandSize, uint64_t next) {
  offset &= sizeMask(operandSize);
  if (realMode() || v86()) {
    if (offset > codeLimit) return raise(vector::GP, 0);
    loadRealCs(*this, selector);
    state.rip = offset;
    return true;
  }
  if (isNull(selector)) return raise(vector::GP, 0);
  Descriptor descriptor;
  if (!readDescriptor(*this, selector, vector::GP, descriptor)) return false;
  if (descriptor.system()) {
    if (namesTask(*this, descriptor)) return taskTarget(*this, selector, descriptor, TaskSwitch::Jump, next);
    if (!namesCallGate(*this, descriptor)) return raiseFor(*this, vector::GP, selector);
    return checkGate(*this, selector, descriptor) && jumpGate(*this, descriptor);
  }
  if (!checkCode(*this, selector, descriptor, privilegedFor(*this, selector, descriptor))) return false;
  if (!checkOffset(*this, descriptor, offset) || !setType(*this, descriptor, kAccessed)) return false;
  loadCs(*this, selector, descriptor, state.cpl);
  state.rip = offset;
  return true;
}

bool Core::callFar(uint16_t selector, uint64_t offset, unsigned operandSize, uint64_t next) {
  offset &= sizeMask(operandSize);
  auto pushReturn = [&](StackFrame& frame) {
    return frame.push(state.seg[CS].selector, operandSize) && frame.push(next, operandSize);
  };
  if (realMode() || v86()) {
    StackFrame frame(*this, state.seg[SS], state.gpr[RSP], false, false, 0);
    if (!pushReturn(frame)) return false;
    if (offset > codeLimit) return raise(vector::GP, 0);
    frame.commit();
    loadRealCs(*this, selector);
    state.rip = offset;
    return true;
  }
  if (isNull(selector)) return raise(vector::GP, 0);
  Descriptor descriptor;
  if (!readDescriptor(*this, selector, vector::GP, descriptor)) return false;
  if (descriptor.system()) {
    if (namesTask(*this, descriptor)) return taskTarget(*this, selector, descriptor, TaskSwitch::Call, next);
    if (!namesCallGate(*this, descriptor)) return raiseFor(*this, vector::GP, selector);
    return checkGate(*this, selector, descriptor) && callGate(*this, descriptor, next);
  }
  if (!checkCode(*this, selector, descriptor, privilegedFor(*this, selector, descriptor))) return false;
  // The stack is already that of the mode to which the call leads.
  const bool wide = longMode() && descriptor.attrib() & kLongBit;
  StackFrame frame(*this, state.seg[SS], state.gpr[RSP], wide, false, 0);
  if (!pushReturn(frame) || !checkOffset(*this, descriptor, offset)) return false;
  if (!setType(*this, descriptor, kAccessed)) return false;
  frame.commit();
  loadCs(*this, selector, descriptor, state.cpl);
  state.rip = offset;
  return true;
}

bool Core::returnFar(unsigned operandSize, uint16_t release) {
  uint64_t offset;
  uint16_t selector;
  if (!peek(*this, 0, operandSize, offset) || !peekSelector(*this, operandSize, operandSize, selector)) return false;
  if (realMode() || v86()) {
    if (offset > codeLimit) return raise(vector::GP, 0);
    moveStack(2 * operandSize + release);
    loadRealCs(*this, selector);
    state.rip = offset;
    return true;
  }
  return returnTo(*this, selector, offset, operandSize, 2 * operandSize, release, false);
}

bool returnTo(Core& core, uint16_t selector, uint64_t offset, unsigned operandSize, unsigned popped, unsigned release,
              bool withStack) {
  State& state = core.state;
  if (isNull(selector)) return core.raise(vector::GP, 0);
  const unsigned cpl = rpl(selector);
  Descriptor code, stack{};
  if (!readDescriptor(core, selector, vector::GP, code)) return false;
  const bool conforming = isConforming(code.segment(selector));
  const bool privileged = cpl >= state.cpl && (conforming ? code.dpl() <= cpl : code.dpl() == cpl);
  if (!checkCode(core, selector, code, privileged)) return false;

  const bool outer = cpl > state.cpl;
  withStack |= outer;
  uint64_t sp = 0;
  uint16_t ss = 0;
  if (withStack) {
    if (!peek(core, popped + release, operandSize, sp)) return false;
    if (!peekSelector(core, popped + release + operandSize, operandSize, ss)) return false;
    if (core.amd() && !checkOffset(core, code, offset)) return false;  // Intel's processors look at SS first
    if (isNull(ss)) {
      if (!core.longMode() || !(code.attrib() & kLongBit) || cpl == 3) return core.raise(vector::GP, 0);
    } else {
      if (!readDescriptor(core, ss, vector::GP, stack)) return false;
      if (!checkStack(core, ss, stack, cpl, vector::GP) || !setType(core, stack, kAccessed)) return false;
    }
  }
  if (!checkOffset(core, code, offset) || !setType(core, code, kAccessed)) return false;

  if (withStack) {
    state.seg[SS] = isNull(ss) ? nullStack(cpl) : stack.segment(ss);
    if (!isNull(ss)) state.seg[SS].attrib |= kAccessed;
  }
  loadCs(core, selector, code, cpl);  // the size of the stack is that of the mode returned to
  core.setMasked(RSP, withStack ? sp + release : state.gpr[RSP] + popped + release, core.stackMask);
  if (outer) dropPrivilegedSegments(core);
  state.rip = offset;
  return true;
}

// ---- I/O permission -------------------------------------------------------------------------------------------------
bool Core::ioAllowed(uint16_t port, unsigned size) {
  if (!protectedMode() || (!v86() && state.cpl <= (state.rflags & kIOPL) >> 12)) return true;
  const Segment& tr = state.tr;
  constexpr unsigned kMapBase = 0x66;
  uint16_t map, bits;
  if ((tr.type() & ~kTssBusy) != kTss32 || tr.limit < kMapBase + 1) return raise(vector::GP, 0);
  if (!readLinear(tr.base + kMapBase, &map, 2, true)) return false;
  const uint32_t byte = map + port / 8u;  // and the next one: a port's size may straddle two
  if (byte + 1 > tr.limit) return raise(vector::GP, 0);
  if (!readLinear(tr.base + byte, &bits, 2, true)) return false;
  return (bits >> (port & 7) & ((1u << size) - 1)) == 0 || raise(vector::GP, 0);
}

// ---- Handlers -------------------------------------------------------------------------------------------------------
namespace {

// SS changes the size of the stack, on which the rest of the block depends.
const Insn* loadedSegment(Core& core, const Insn* insn, unsigned seg) {
  return seg == SS ? leave(core, insn) : next(core, insn);
}

// AMD's processors have no m16:64: there, a far CALL with REX.W pushes 64 bits, but reads an offset of 32.
bool readPointer(Core& core, const Insn* insn, uint64_t& offset, uint16_t& selector) {
  const unsigned size = core.amd() ? std::min<unsigned>(insn->operandSize, 4) : insn->operandSize;
  const uint64_t from = core.address(insn);
  offset = 0;
  return core.readSlow(insn->segment, from, &offset, size) &&
         core.read(insn->segment, (from + size) & insn->addressMask(), selector);
}

const Insn* loadPointer(Core& core, const Insn* insn, unsigned seg) {
  if (!insn->memory) return fault(core, insn, vector::UD);
  uint64_t offset;
  uint16_t selector;
  if (!readPointer(core, insn, offset, selector) || !core.loadSegment(seg, selector)) return stop(core, insn);
  if (insn->operandSize == 2)
    core.setReg<uint16_t>(insn->reg, static_cast<uint16_t>(offset));
  else
    core.setReg<uint64_t>(insn->reg, offset);
  return loadedSegment(core, insn, seg);
}

const Insn* farIndirect(Core& core, const Insn* insn, bool call) {
  if (!insn->memory) return fault(core, insn, vector::UD);
  const unsigned size = insn->operandSize;
  uint64_t offset;
  uint16_t selector;
  if (!readPointer(core, insn, offset, selector)) return stop(core, insn);
  uint64_t next = begin(core, insn);
  return end(core, call ? core.callFar(selector, offset, size, next) : core.jumpFar(selector, offset, size, next));
}

}  // namespace

const Insn* movFromSegment(Core& core, const Insn* insn) {
  const uint16_t selector = core.state.seg[insn->reg].selector;
  if (insn->memory) {
    if (!core.write(insn->segment, core.address(insn), selector)) return stop(core, insn);
  } else if (insn->operandSize == 2) {
    core.setReg<uint16_t>(insn->rm, selector);
  } else {
    core.setReg<uint64_t>(insn->rm, selector);
  }
  return next(core, insn);
}

const Insn* movToSegment(Core& core, const Insn* insn) {
  if (insn->reg == CS) return fault(core, insn, vector::UD);
  uint16_t selector = static_cast<uint16_t>(core.state.gpr[insn->rm & 15]);
  if (insn->memory && !core.read(insn->segment, core.address(insn), selector)) return stop(core, insn);
  if (!core.loadSegment(insn->reg, selector)) return stop(core, insn);
  if (insn->reg == SS) core.beginShadow();
  return loadedSegment(core, insn, insn->reg);
}

const Insn* pushSegment(Core& core, const Insn* insn) {
  const uint16_t selector = core.state.seg[insn->reg].selector;
  if (insn->operandSize == 8) return core.push<uint64_t>(selector) ? next(core, insn) : stop(core, insn);
  if (insn->operandSize == 4 && core.amd()) return core.push<uint32_t>(selector) ? next(core, insn) : stop(core, insn);
  // Of a slot of 32 bits, Intel's processors write only the lower half.
  const uint64_t sp = (core.state.gpr[RSP] - insn->operandSize) & core.stackMask;
  if (!core.write<uint16_t>(SS, sp, selector)) return stop(core, insn);
  core.setMasked(RSP, sp, core.stackMask);
  return next(core, insn);
}

const Insn* popSegment(Core& core, const Insn* insn) {
  uint16_t selector;
  const uint64_t mask = core.stackMask;  // POP SS may change it
  if (!peekSelector(core, 0, insn->operandSize, selector) || !core.loadSegment(insn->reg, selector))
    return stop(core, insn);
  core.setMasked(RSP, core.state.gpr[RSP] + insn->operandSize, mask);
  if (insn->reg == SS) core.beginShadow();
  return loadedSegment(core, insn, insn->reg);
}

const Insn* les(Core& core, const Insn* insn) { return loadPointer(core, insn, ES); }
const Insn* lds(Core& core, const Insn* insn) { return loadPointer(core, insn, DS); }
const Insn* lss(Core& core, const Insn* insn) { return loadPointer(core, insn, SS); }
const Insn* lfs(Core& core, const Insn* insn) { return loadPointer(core, insn, FS); }
const Insn* lgs(Core& core, const Insn* insn) { return loadPointer(core, insn, GS); }

const Insn* jmpFarDirect(Core& core, const Insn* insn) {
  uint64_t next = begin(core, insn);
  return end(core, core.jumpFar(insn->selector, insn->imm, insn->operandSize, next));
}
const Insn* callFarDirect(Core& core, const Insn* insn) {
  uint64_t next = begin(core, insn);
  return end(core, core.callFar(insn->selector, insn->imm, insn->operandSize, next));
}
const Insn* jmpFarIndirect(Core& core, const Insn* insn) { return farIndirect(core, insn, false); }
const Insn* callFarIndirect(Core& core, const Insn* insn) { return farIndirect(core, insn, true); }

const Insn* retFar(Core& core, const Insn* insn) {
  begin(core, insn);
  return end(core, core.returnFar(insn->operandSize, 0));
}
const Insn* retFarImm(Core& core, const Insn* insn) {
  begin(core, insn);
  return end(core, core.returnFar(insn->operandSize, static_cast<uint16_t>(insn->imm)));
}

}  // namespace nvmm::cpu
