// The hardware task switch of protected mode.
#include "segments.h"

namespace nvmm::cpu {
namespace {

struct TssLayout {
  uint8_t size;      // of the whole
  uint8_t slot;      // of one value
  uint8_t saved;     // where the part begins that a switch away writes: IP, FLAGS, 8 registers, segment selectors
  uint8_t segments;  // how many of those
  uint8_t ldt;
};
constexpr TssLayout kLayout16 = {44, 2, 14, 4, 42};
constexpr TssLayout kLayout32 = {104, 4, 32, 6, 96};
constexpr unsigned kCr3Offset = 28, kTrapOffset = 100;
constexpr unsigned kGprCount = 8;

const TssLayout& layout(unsigned type) { return (type & ~kTssBusy) == kTss32 ? kLayout32 : kLayout16; }

// A value of a TSS that was read or is to be written.
struct TssImage {
  uint8_t bytes[104];
  const TssLayout& layout;

  uint32_t get(unsigned offset) const {
    return layout.slot == 4 ? loadHost<uint32_t>(bytes + offset) : loadHost<uint16_t>(bytes + offset);
  }
  void put(unsigned offset, uint32_t value) {
    if (layout.slot == 4)
      storeHost(bytes + offset, value);
    else
      storeHost(bytes + offset, static_cast<uint16_t>(value));
  }
  unsigned slot(unsigned index) const { return layout.saved + index * layout.slot; }  // 0: IP, 1: FLAGS, 2: AX ...
};
constexpr unsigned kIpSlot = 0, kFlagsSlot = 1, kGprSlot = 2, kSegmentSlot = kGprSlot + kGprCount;

// Reads the TSS's descriptor, with the checks that come before anything is changed.
bool readTss(Core& core, uint16_t selector, TaskSwitch why, Descriptor& tss) {
  const bool back = why == TaskSwitch::Return;
  const uint8_t vector = back ? vector::TS : vector::GP;
  if (selector & kTableIndicator || isNull(selector)) return raiseFor(core, vector, selector);
  if (!readDescriptor(core, selector, vector, tss)) return false;
  const unsigned type = tss.type();
  const bool right =
      tss.system() && (back ? type == kTss16Busy || type == kTss32Busy : type == kTss16 || type == kTss32);
  if (!right) return raiseFor(core, vector, selector);
  if (!tss.present()) return raiseFor(core, vector::NP, selector);
  if (tss.limit() < layout(type).size - 1u) return raiseFor(core, vector::TS, selector);
  return true;
}

// The registers of the new task, its segments yet without contents.
void loadRegisters(Core& core, const TssImage& image, bool nested) {
  State& state = core.state;
  uint64_t flags = image.get(image.slot(kFlagsSlot)) & (image.layout.slot == 4 ? 0x3f7fd7 : 0x7fd7);
  core.setRflags(nested ? flags | kNT : flags);
  core.rfLoaded = flags & kRF;
  state.rip = image.get(image.slot(kIpSlot));
  for (unsigned i = 0; i < kGprCount; ++i) state.gpr[i] = image.get(image.slot(kGprSlot + i));
  for (unsigned seg = 0; seg < 6; ++seg) {
    uint32_t selector = seg < image.layout.segments ? image.get(image.slot(kSegmentSlot + seg)) : 0;
    state.seg[seg] = {static_cast<uint16_t>(selector), 0, 0, 0};
  }
  state.ldtr = {static_cast<uint16_t>(image.get(image.layout.ldt)), 0, 0, 0};
  state.cpl = core.v86() ? 3 : rpl(state.seg[CS].selector);
  state.cr0 |= kTS;
  state.dr7 &= ~uint64_t{0x155};  // the local breakpoints
  if (image.layout.slot == 4 && image.bytes[kTrapOffset] & 1) core.pendingDebug |= 1 << 15;
}

bool loadLdt(Core& core) {
  const uint16_t selector = core.state.ldtr.selector;
  if (isNull(selector)) return true;
  Descriptor descriptor;
  if (selector & kTableIndicator) return raiseFor(core, vector::TS, selector);
  if (!readDescriptor(core, selector, vector::TS, descriptor)) return false;
  if (!descriptor.system() || descriptor.type() != kLdt || !descriptor.present()) {
    return raiseFor(core, vector::TS, selector);
  }
  core.state.ldtr = descriptor.segment(selector);
  return true;
}

bool loadTaskSegment(Core& core, unsigned seg) {
  Segment& s = core.state.seg[seg];
  const uint16_t selector = s.selector;
  const unsigned cpl = core.state.cpl;
  if (isNull(selector)) return (seg != CS && seg != SS) || raiseFor(core, vector::TS, selector);
  Descriptor descriptor;
  if (!readDescriptor(core, selector, vector::TS, descriptor)) return false;
  Segment candidate = descriptor.segment(selector);
  bool right;
  if (seg == CS) {
    right = isCode(candidate) && (isConforming(candidate) ? candidate.dpl() <= cpl : candidate.dpl() == cpl);
  } else if (seg == SS) {
    right = isWritableData(candidate) && candidate.dpl() == cpl && rpl(selector) == cpl;
  } else {
    bool privileged = isConforming(candidate) || (candidate.dpl() >= cpl && candidate.dpl() >= rpl(selector));
    right = isReadable(candidate) && privileged;
  }
  if (!right) return raiseFor(core, vector::TS, selector);
  if (!descriptor.present()) return raiseFor(core, seg == SS ? vector::SS : vector::NP, selector);
  if (!setType(core, descriptor, kAccessed)) return false;
  s = candidate;
  s.attrib |= kAccessed;
  return true;
}

bool loadSegments(Core& core) {
  if (!loadLdt(core)) return false;
  if (core.v86()) {
    for (Segment& s : core.state.seg) s = {s.selector, kV86Attrib, 0xffff, uint64_t{s.selector} << 4};
    return true;
  }
  for (unsigned seg : {CS, SS, DS, ES, FS, GS}) {
    if (!loadTaskSegment(core, seg)) return false;
  }
  return true;
}

void updateAll(Core& core) {
  core.updateMode();
  core.updateSegments();
}

}  // namespace

bool switchTask(Core& core, uint16_t selector, TaskSwitch why, uint64_t next, bool hasError, uint32_t error) {
  State& state = core.state;
  Descriptor tss, oldTss{};
  if (!readTss(core, selector, why, tss)) return false;
  if (core.controls.interceptTaskSwitch) {
    core.exit.nextRip = next;
    return core.leaveWith(ExitKind::TaskSwitch);
  }

  // All that the switch touches on the side of the old task, before anything is changed.
  const bool nested = why == TaskSwitch::Call || why == TaskSwitch::Gate;
  TssImage image = {{}, layout(tss.type())}, old = {{}, layout(state.tr.type())};
  if (!core.readLinear(tss.base(), image.bytes, image.layout.size, true)) return false;
  const unsigned oldBegin = old.layout.saved;
  const unsigned oldSize = (kSegmentSlot + old.layout.segments) * old.layout.slot;
  Span oldSpan, linkSpan{}, busySpan, oldBusySpan{};
  if (!core.spanLinear(state.tr.base + oldBegin, oldSize, Access::Write, true, oldSpan)) return false;
  if (nested && !core.spanLinear(tss.base(), 2, Access::Write, true, linkSpan)) return false;
  if (!core.spanLinear(tss.address + 5, 1, Access::Write, true, busySpan)) return false;
  if (!nested && findDescriptor(core, state.tr.selector, 8, oldTss.address) &&
      !core.spanLinear(oldTss.address + 5, 1, Access::Write, true, oldBusySpan)) {
    return false;
  }

  const uint16_t oldSelector = state.tr.selector;
  uint64_t flags = core.rflags();
  if (why == TaskSwitch::Return) flags &= ~kNT;
  old.put(old.slot(kIpSlot), static_cast<uint32_t>(next));
  old.put(old.slot(kFlagsSlot), static_cast<uint32_t>(flags));
  for (unsigned i = 0; i < kGprCount; ++i) old.put(old.slot(kGprSlot + i), static_cast<uint32_t>(state.gpr[i]));
  for (unsigned i = 0; i < old.layout.segments; ++i) old.put(old.slot(kSegmentSlot + i), state.seg[i].selector);

  // The new task's context, from here on also that of exceptions. But after an exit the switch has to start again.
  const State before = state;
  const Flags flagsBefore = core.flags;
  const uint64_t pendingBefore = core.pendingDebug;
  state.tr = tss.segment(selector);
  state.tr.attrib |= kTssBusy;
  loadRegisters(core, image, nested);
  bool newSpace = image.layout.slot == 4 && state.cr0 & kPG;
  if (newSpace) {
    state.cr3 = image.get(kCr3Offset);
    core.flushTlbNonGlobal();
  }
  bool completed = (!newSpace || core.loadPdptes(state.cr0, state.cr3, state.cr4)) && loadSegments(core);
  updateAll(core);
  if (completed && state.rip > state.seg[CS].limit) completed = core.raise(vector::GP, core.delivery.ext);
  if (completed && hasError) {
    StackFrame frame(core, state.seg[SS], state.gpr[RSP], false, false, core.delivery.ext);
    completed = frame.push(error, image.layout.slot);
    if (completed) frame.commit();
  }
  if (!completed && core.outcome == Outcome::Exit) {
    const uint64_t rf = state.rflags & kRF;  // as the exit wants it
    state = before;
    state.rflags |= rf;
    core.flags = flagsBefore;
    core.pendingDebug = pendingBefore;
    if (newSpace) core.flushTlbNonGlobal();
    updateAll(core);
    return false;
  }

  core.storeSpan(oldSpan, old.bytes + oldBegin, oldSize);
  if (nested) core.storeSpan(linkSpan, &oldSelector, 2);
  if (oldBusySpan.host) {
    __atomic_fetch_and(oldBusySpan.host, static_cast<uint8_t>(~kTssBusy), __ATOMIC_SEQ_CST);
    core.wrote(oldBusySpan.host, 1);
  }
  __atomic_fetch_or(busySpan.host, static_cast<uint8_t>(kTssBusy), __ATOMIC_SEQ_CST);
  core.wrote(busySpan.host, 1);
  core.serialize();
  return completed;
}

}  // namespace nvmm::cpu
