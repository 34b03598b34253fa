// Instructions for operating systems: control registers, descriptor tables, MSRs, I/O, system calls, and those that a
// hypervisor is told of.
#include "handlers.h"
#include "segments.h"

namespace nvmm::cpu {
namespace {

bool isIntel(const Core& core) { return core.model.vendor == Vendor::Intel; }

const Insn* generalProtection(Core& core, const Insn* insn) { return fault(core, insn, vector::GP, 0); }
const Insn* undefinedOpcode(Core& core, const Insn* insn) { return fault(core, insn, vector::UD); }

// Exists in protected mode only.
bool protectedOnly(const Core& core) { return core.protectedMode() && !core.v86(); }
bool umip(const Core& core) { return core.state.cr4 & kUMIP && core.state.cpl != 0; }

// An operand E that is a word in memory and of the operand size in a register.
bool readWord(Core& core, const Insn* insn, uint16_t& value) {
  if (insn->memory) return core.read(insn->segment, core.address(insn), value);
  value = core.reg<uint16_t>(insn->rm);
  return true;
}
const Insn* storeWord(Core& core, const Insn* insn, uint64_t value) {
  if (insn->memory) {
    bool done = core.write(insn->segment, core.address(insn), static_cast<uint16_t>(value));
    return done ? next(core, insn) : stop(core, insn);
  }
  switch (insn->operandSize) {
    case 2: core.setReg<uint16_t>(insn->rm, static_cast<uint16_t>(value)); break;
    case 4: core.setReg<uint32_t>(insn->rm, static_cast<uint32_t>(value)); break;
    default: core.setReg<uint64_t>(insn->rm, value);
  }
  return next(core, insn);
}

uint64_t edxEax(const Core& core) { return core.state.gpr[RDX] << 32 | (core.state.gpr[RAX] & 0xffffffff); }
void setEdxEax(Core& core, uint64_t value) {
  core.state.gpr[RAX] = value & 0xffffffff;
  core.state.gpr[RDX] = value >> 32;
}

}  // namespace

// ---- Descriptor tables ----------------------------------------------------------------------------------------------
namespace {

const Insn* loadTable(Core& core, const Insn* insn, TableRegister& table) {
  if (core.state.cpl != 0) return generalProtection(core, insn);
  const uint64_t from = core.address(insn), second = (from + 2) & insn->addressMask();
  uint16_t limit;
  uint64_t base = 0;
  if (!core.read(insn->segment, from, limit)) return stop(core, insn);
  if (!core.readSlow(insn->segment, second, &base, core.code64() ? 8 : 4)) return stop(core, insn);
  if (core.code64() && !core.canonical(base)) return generalProtection(core, insn);
  if (!core.code64() && insn->operandSize == 2) base &= 0xffffff;
  table = {base, limit};
  return next(core, insn);
}

const Insn* storeTable(Core& core, const Insn* insn, const TableRegister& table) {
  if (umip(core)) return generalProtection(core, insn);
  uint8_t image[10];
  storeHost(image, static_cast<uint16_t>(table.limit));
  storeHost(image + 2, table.base);
  bool done = core.writeSlow(insn->segment, core.address(insn), image, core.code64() ? 10 : 6);
  return done ? next(core, insn) : stop(core, insn);
}

const Insn* storeSelector(Core& core, const Insn* insn, uint16_t selector) {
  if (!protectedOnly(core)) return undefinedOpcode(core, insn);
  if (umip(core)) return generalProtection(core, insn);
  return storeWord(core, insn, selector);
}

// LLDT and LTR: the descriptor, which must be in the GDT.
bool readSystemSegment(Core& core, uint16_t selector, Descriptor& descriptor,
                       bool rightType(const Core&, unsigned type)) {
  if (selector & kTableIndicator) return raiseFor(core, vector::GP, selector);
  if (!readDescriptor(core, selector, vector::GP, descriptor)) return false;
  if (!descriptor.system() || !rightType(core, descriptor.type())) return raiseFor(core, vector::GP, selector);
  if (!descriptor.present()) return raiseFor(core, vector::NP, selector);
  return !core.longMode() || core.canonical(descriptor.base()) || raiseFor(core, vector::GP, selector);
}

}  // namespace

const Insn* lgdt(Core& core, const Insn* insn) { return loadTable(core, insn, core.state.gdtr); }
const Insn* lidt(Core& core, const Insn* insn) { return loadTable(core, insn, core.state.idtr); }
const Insn* sgdt(Core& core, const Insn* insn) { return storeTable(core, insn, core.state.gdtr); }
const Insn* sidt(Core& core, const Insn* insn) { return storeTable(core, insn, core.state.idtr); }
const Insn* sldt(Core& core, const Insn* insn) { return storeSelector(core, insn, core.state.ldtr.selector); }
const Insn* str(Core& core, const Insn* insn) { return storeSelector(core, insn, core.state.tr.selector); }

const Insn* lldt(Core& core, const Insn* insn) {
  if (!protectedOnly(core)) return undefinedOpcode(core, insn);
  if (core.state.cpl != 0) return generalProtection(core, insn);
  uint16_t selector;
  if (!readWord(core, insn, selector)) return stop(core, insn);
  if (isNull(selector)) {
    core.state.ldtr = {selector, 0, 0, 0};
    return next(core, insn);
  }
  Descriptor descriptor;
  auto isLdt = [](const Core&, unsigned type) { return type == kLdt; };
  if (!readSystemSegment(core, selector, descriptor, isLdt)) return stop(core, insn);
  core.state.ldtr = descriptor.segment(selector);
  return next(core, insn);
}

const Insn* ltr(Core& core, const Insn* insn) {
  if (!protectedOnly(core)) return undefinedOpcode(core, insn);
  if (core.state.cpl != 0) return generalProtection(core, insn);
  uint16_t selector;
  if (!readWord(core, insn, selector)) return stop(core, insn);
  if (isNull(selector)) return generalProtection(core, insn);
  Descriptor descriptor;
  auto isAvailableTss = [](const Core& c, unsigned type) {
    return type == kTss32 || (type == kTss16 && !c.longMode());
  };
  if (!readSystemSegment(core, selector, descriptor, isAvailableTss)) return stop(core, insn);
  if (!setType(core, descriptor, kTssBusy)) return stop(core, insn);
  core.state.tr = descriptor.segment(selector);
  core.state.tr.attrib |= kTssBusy;
  return next(core, insn);
}

// ---- Control registers ----------------------------------------------------------------------------------------------
namespace {

constexpr uint64_t kCr0Bits = kPE | kMP | kEM | kTS | kET | kNE | kWP | kAM | kNW | kCD | kPG;

bool setCr0(Core& core, uint64_t value) {
  State& state = core.state;
  const uint64_t changed = state.cr0 ^ value;
  const bool paging = value & kPG;
  if (value & core.model.cr0Reserved || (paging && !(value & kPE)) || (value & kNW && !(value & kCD))) {
    return core.raise(vector::GP, 0);
  }
  if (isIntel(core) && !(value & kNE)) return core.raise(vector::GP, 0);  // fixed in VMX operation
  uint64_t efer = state.efer;
  if (changed & kPG) {
    if (paging && efer & kLME) {
      bool oldTss = isIntel(core) && (state.tr.type() & ~kTssBusy) == kTss16;
      if (!(state.cr4 & kPAE) || state.seg[CS].longMode() || oldTss) return core.raise(vector::GP, 0);
      efer |= kLMA;
    }
    if (!paging) {
      if (core.code64() || state.cr4 & kPCIDE) return core.raise(vector::GP, 0);
      efer &= ~kLMA;
    }
  }
  if (changed & (kPG | kCD | kNW) && !(efer & kLMA) && !core.loadPdptes(value, state.cr3, state.cr4)) return false;
  state.cr0 = (value & kCr0Bits) | kET;
  state.efer = efer;
  if (changed & (kPG | kPE | kWP)) core.flushTlb();
  core.updateMode();
  core.serialize();
  return true;
}

bool setCr3(Core& core, uint64_t value) {
  constexpr uint64_t kNoFlush = uint64_t{1} << 63;
  if (core.state.cr4 & kPCIDE) value &= ~kNoFlush;
  if (core.longMode()) {
    if (value >> core.model.physicalAddressBits) return core.raise(vector::GP, 0);
  } else if (!core.loadPdptes(core.state.cr0, value, core.state.cr4)) {
    return false;
  }
  core.state.cr3 = value;
  core.flushTlbNonGlobal();
  core.serialize();
  return true;
}

bool setCr4(Core& core, uint64_t value) {
  State& state = core.state;
  const uint64_t changed = state.cr4 ^ value;
  if (value & core.model.cr4Reserved) return core.raise(vector::GP, 0);
  if (core.longMode() && !(value & kPAE)) return core.raise(vector::GP, 0);
  if (changed & value & kPCIDE && (!core.longMode() || state.cr3 & 0xfff)) return core.raise(vector::GP, 0);
  constexpr uint64_t kPaging = kPSE | kPAE | kPGE | kPCIDE | kSMEP | kSMAP;
  if (changed & (kPSE | kPAE | kPGE | kSMEP) && !core.loadPdptes(state.cr0, state.cr3, value)) return false;
  state.cr4 = value;
  if (changed & kPaging) core.flushTlb();
  core.updateMode();
  core.serialize();
  return true;
}

// The operand of MOV to a control or debug register.
uint64_t wholeRegister(const Core& core, unsigned r) {
  return core.code64() ? core.state.gpr[r] : core.state.gpr[r] & 0xffffffff;
}
void setWholeRegister(Core& core, unsigned r, uint64_t value) {
  core.state.gpr[r] = core.code64() ? value : value & 0xffffffff;
}

const Insn* crExit(Core& core, const Insn* insn, ExitKind kind, uint64_t value) {
  core.exit.control.value = value;
  core.exit.control.cr8Register = insn->rm;
  return exitAt(core, insn, kind);
}

}  // namespace

const Insn* movFromCr(Core& core, const Insn* insn) {
  State& state = core.state;
  uint64_t value;
  switch (insn->reg) {
    case 0: value = state.cr0; break;
    case 2: value = state.cr2; break;
    case 3: value = state.cr3; break;
    case 4: value = state.cr4; break;
    case 8: value = state.cr8; break;
    default: return undefinedOpcode(core, insn);
  }
  if (state.cpl != 0) return generalProtection(core, insn);
  if (insn->reg == 8 && core.controls.interceptCr8) return crExit(core, insn, ExitKind::Cr8Read, 0);
  setWholeRegister(core, insn->rm, value);
  return next(core, insn);
}

const Insn* movToCr(Core& core, const Insn* insn) {
  State& state = core.state;
  const uint64_t value = wholeRegister(core, insn->rm);
  if (insn->reg != 0 && insn->reg != 2 && insn->reg != 3 && insn->reg != 4 && insn->reg != 8) {
    return undefinedOpcode(core, insn);
  }
  if (state.cpl != 0) return generalProtection(core, insn);
  uint64_t next = core.nextRip(insn);
  bool done = true;
  switch (insn->reg) {
    case 0:
      if ((state.cr0 ^ value) & core.controls.interceptCr0) return crExit(core, insn, ExitKind::Cr0Write, value);
      done = setCr0(core, value);
      break;
    case 2: state.cr2 = value; break;
    case 3: done = setCr3(core, value); break;
    case 4:
      if (value & core.controls.interceptCr4) return crExit(core, insn, ExitKind::Cr4Write, value);
      done = setCr4(core, value);
      break;
    case 8:
      if (core.controls.interceptCr8) return crExit(core, insn, ExitKind::Cr8Write, value);
      if (value > 15) return generalProtection(core, insn);
      state.cr8 = value;
      break;
  }
  return done ? leaveTo(core, insn, next) : stop(core, insn);
}

const Insn* lmsw(Core& core, const Insn* insn) {
  if (core.state.cpl != 0) return generalProtection(core, insn);
  uint16_t value;
  if (!readWord(core, insn, value)) return stop(core, insn);
  constexpr uint64_t kCleared = kMP | kEM | kTS;  // PE can only be set
  uint64_t next = core.nextRip(insn);
  bool done = setCr0(core, (core.state.cr0 & ~kCleared) | (value & (kPE | kCleared)));
  return done ? leaveTo(core, insn, next) : stop(core, insn);
}

const Insn* smsw(Core& core, const Insn* insn) {
  if (umip(core)) return generalProtection(core, insn);
  return storeWord(core, insn, core.state.cr0);
}

const Insn* clts(Core& core, const Insn* insn) {
  if (core.state.cpl != 0) return generalProtection(core, insn);
  core.state.cr0 &= ~kTS;
  core.updateMode();
  return leave(core, insn);
}

// ---- Debug registers ------------------------------------------------------------------------------------------------
namespace {

constexpr uint64_t kDr6Ones = 0xffff0ff0, kDr6Bits = 0xe00f;
constexpr uint64_t kDr7Ones = 0x400, kDr7Bits = 0xffff23ff, kDr7Gd = 1 << 13;
constexpr uint64_t kDr6Bd = 1 << 13;

// The register meant, or null with the fault recorded.
uint64_t* debugRegister(Core& core, const Insn* insn) {
  State& state = core.state;
  unsigned number = insn->reg;
  bool alias = number == 4 || number == 5;
  if (number > 7 || (alias && state.cr4 & kDE)) return core.raise(vector::UD), nullptr;
  if (state.cpl != 0) return core.raise(vector::GP, 0), nullptr;
  if (state.dr7 & kDr7Gd) {
    state.dr6 |= kDr6Bd;
    return core.raise(vector::DB), nullptr;
  }
  if (alias) number += 2;
  return number < 4 ? &state.dr[number] : number == 6 ? &state.dr6 : &state.dr7;
}

}  // namespace

const Insn* movFromDr(Core& core, const Insn* insn) {
  const uint64_t* from = debugRegister(core, insn);
  if (!from) return stop(core, insn);
  setWholeRegister(core, insn->rm, *from);
  return next(core, insn);
}

const Insn* movToDr(Core& core, const Insn* insn) {
  uint64_t* to = debugRegister(core, insn);
  if (!to) return stop(core, insn);
  uint64_t value = wholeRegister(core, insn->rm);
  if (to == &core.state.dr6 || to == &core.state.dr7) {
    if (value >> 32) return generalProtection(core, insn);
    value = to == &core.state.dr6 ? (value & kDr6Bits) | kDr6Ones : (value & kDr7Bits) | kDr7Ones;
  }
  *to = value;
  core.updateMode();
  return leave(core, insn);
}

// ---- Supervisor access to user pages --------------------------------------------------------------------------------
namespace {

const Insn* setAc(Core& core, const Insn* insn, bool value) {
  if (core.state.cpl != 0) return undefinedOpcode(core, insn);
  core.state.rflags = value ? core.state.rflags | kAC : core.state.rflags & ~kAC;
  return next(core, insn);
}

}  // namespace

const Insn* clac(Core& core, const Insn* insn) { return setAc(core, insn, false); }
const Insn* stac(Core& core, const Insn* insn) { return setAc(core, insn, true); }

// ---- Caches and translation -----------------------------------------------------------------------------------------
const Insn* invlpg(Core& core, const Insn* insn) {
  if (core.state.cpl != 0) return generalProtection(core, insn);
  const uint64_t offset = core.address(insn), base = core.state.seg[insn->segment].base;
  const uint64_t linear = !core.code64() ? (base + offset) & 0xffffffff : insn->segment >= FS ? base + offset : offset;
  if (core.canonical(linear)) core.flushTlbPage(linear);
  core.serialize();
  return leave(core, insn);
}

const Insn* invpcid(Core& core, const Insn* insn) {
  if (!isIntel(core) || !insn->memory || core.realMode()) return undefinedOpcode(core, insn);
  if (core.state.cpl != 0) return generalProtection(core, insn);
  uint64_t descriptor[2];
  if (!core.readSlow(insn->segment, core.address(insn), descriptor, sizeof(descriptor))) return stop(core, insn);
  const uint64_t type = wholeRegister(core, insn->reg);
  const bool wrongPcid = type < 2 && descriptor[0] && !(core.state.cr4 & kPCIDE);
  if (type > 3 || descriptor[0] >> 12 || wrongPcid || (type == 0 && !core.canonical(descriptor[1]))) {
    return generalProtection(core, insn);
  }
  core.flushTlb();
  core.serialize();
  return leave(core, insn);
}

const Insn* invd(Core& core, const Insn* insn) {
  if (core.state.cpl != 0) return generalProtection(core, insn);
  return exitAt(core, insn, ExitKind::Invd);
}

const Insn* wbinvd(Core& core, const Insn* insn) {
  if (core.state.cpl != 0) return generalProtection(core, insn);
  core.serialize();
  return leave(core, insn);
}

// ---- What a hypervisor is told --------------------------------------------------------------------------------------
const Insn* hlt(Core& core, const Insn* insn) {
  if (core.state.cpl != 0) return generalProtection(core, insn);
  return exitAt(core, insn, ExitKind::Halt);
}

const Insn* cpuid(Core& core, const Insn* insn) { return exitAt(core, insn, ExitKind::Cpuid); }

namespace {

const Insn* waitExit(Core& core, const Insn* insn, ExitKind kind) {
  if (core.state.cpl != 0) return undefinedOpcode(core, insn);
  return exitAt(core, insn, kind);
}

// Asked about under VMX and unknown under SVM, and the other way round.
const Insn* refused(Core& core, const Insn* insn, Vendor vendor) {
  if (core.model.vendor != vendor) return undefinedOpcode(core, insn);
  return exitAt(core, insn, ExitKind::Refused);
}

const Insn* svmInstruction(Core& core, const Insn* insn) {
  if (isIntel(core) || !protectedOnly(core)) return undefinedOpcode(core, insn);
  if (core.state.cpl != 0) return generalProtection(core, insn);
  return exitAt(core, insn, ExitKind::Refused);
}

}  // namespace

const Insn* monitor(Core& core, const Insn* insn) { return waitExit(core, insn, ExitKind::Monitor); }
const Insn* mwait(Core& core, const Insn* insn) { return waitExit(core, insn, ExitKind::Mwait); }

const Insn* vmcall(Core& core, const Insn* insn) { return refused(core, insn, Vendor::Intel); }
const Insn* vmmcall(Core& core, const Insn* insn) { return refused(core, insn, Vendor::Amd); }
const Insn* rsm(Core& core, const Insn* insn) { return refused(core, insn, Vendor::Amd); }
const Insn* vmrun(Core& core, const Insn* insn) { return svmInstruction(core, insn); }
const Insn* vmload(Core& core, const Insn* insn) { return svmInstruction(core, insn); }
const Insn* vmsave(Core& core, const Insn* insn) { return svmInstruction(core, insn); }
const Insn* stgi(Core& core, const Insn* insn) { return svmInstruction(core, insn); }
const Insn* clgi(Core& core, const Insn* insn) { return svmInstruction(core, insn); }
const Insn* skinit(Core& core, const Insn* insn) { return svmInstruction(core, insn); }
const Insn* invlpga(Core& core, const Insn* insn) { return svmInstruction(core, insn); }

// Outside of root operation they exit before the privilege is looked at.
const Insn* vmxInstruction(Core& core, const Insn* insn) {
  bool compatibility = core.longMode() && !core.code64();
  if (!protectedOnly(core) || compatibility) return undefinedOpcode(core, insn);
  return refused(core, insn, Vendor::Intel);
}

// ---- Time and counters ----------------------------------------------------------------------------------------------
const Insn* rdtsc(Core& core, const Insn* insn) {
  if (core.state.cr4 & kTSD && core.state.cpl != 0) return generalProtection(core, insn);
  setEdxEax(core, core.clock(insn));
  return next(core, insn);
}

const Insn* rdtscp(Core& core, const Insn* insn) {
  if (isIntel(core)) return undefinedOpcode(core, insn);  // disabled by a control
  if (core.state.cr4 & kTSD && core.state.cpl != 0) return generalProtection(core, insn);
  return exitAt(core, insn, ExitKind::Refused);
}

const Insn* rdpmc(Core& core, const Insn* insn) {
  if (!(core.state.cr4 & kPCE) && core.state.cpl != 0) return generalProtection(core, insn);
  return exitAt(core, insn, ExitKind::Refused);
}

// ---- Extended states ------------------------------------------------------------------------------------------------
const Insn* xgetbv(Core& core, const Insn* insn) {
  if (!(core.state.cr4 & kOSXSAVE)) return undefinedOpcode(core, insn);
  if (core.state.gpr[RCX] & 0xffffffff) return generalProtection(core, insn);
  setEdxEax(core, core.state.xcr0);
  return next(core, insn);
}

const Insn* xsetbv(Core& core, const Insn* insn) {
  if (!(core.state.cr4 & kOSXSAVE)) return undefinedOpcode(core, insn);
  if (core.state.cpl != 0) return generalProtection(core, insn);
  core.exit.control.value = edxEax(core);
  return exitAt(core, insn, ExitKind::Xsetbv);
}

// ---- Model-specific registers ---------------------------------------------------------------------------------------
namespace {

bool setEfer(Core& core, uint64_t value) {
  State& state = core.state;
  const uint64_t changed = state.efer ^ value;
  if (value & core.model.eferReserved || (changed & kLME && state.cr0 & kPG)) return false;
  state.efer = (value & ~kLMA) | (state.efer & kLMA);
  if (changed & kNXE) core.flushTlb();
  core.updateMode();
  return true;
}

// The register that is nothing but a value.
uint64_t* plainMsr(State& state, uint32_t msr) {
  switch (msr) {
    case 0x174: return &state.sysenterCs;
    case 0x175: return &state.sysenterEsp;
    case 0x176: return &state.sysenterEip;
    case 0x277: return &state.pat;
    case 0xc0000080: return &state.efer;
    case 0xc0000081: return &state.star;
    case 0xc0000082: return &state.lstar;
    case 0xc0000083: return &state.cstar;
    case 0xc0000084: return &state.sfmask;
    case 0xc0000100: return &state.seg[FS].base;
    case 0xc0000101: return &state.seg[GS].base;
    case 0xc0000102: return &state.kernelGsBase;
    default: return nullptr;
  }
}

bool holdsAddress(const Core& core, uint32_t msr) {
  switch (msr) {
    case 0x175:
    case 0x176: return isIntel(core);
    case 0xc0000082:
    case 0xc0000083:
    case 0xc0000100:
    case 0xc0000101:
    case 0xc0000102: return true;
    default: return false;
  }
}

constexpr uint32_t kMsrTsc = 0x10, kMsrPat = 0x277, kMsrEfer = 0xc0000080;

bool writeMsr(Core& core, uint32_t msr, uint64_t value) {
  if (msr == kMsrEfer) return setEfer(core, value);
  if (msr == kMsrPat && !validPat(value)) return false;
  uint64_t* to = plainMsr(core.state, msr);
  if (!to || (holdsAddress(core, msr) && !core.canonical(value))) return false;
  *to = value;
  core.updateSegment(FS);
  core.updateSegment(GS);
  return true;
}

bool msrIsNative(const Core& core, uint32_t msr, bool write) {
  return core.controls.nativeMsr && core.controls.nativeMsr(msr, write);
}

}  // namespace

const Insn* rdmsr(Core& core, const Insn* insn) {
  if (core.state.cpl != 0) return generalProtection(core, insn);
  const uint32_t msr = core.reg<uint32_t>(RCX);
  if (!msrIsNative(core, msr, false)) return exitAt(core, insn, ExitKind::Rdmsr);
  const uint64_t* from = plainMsr(core.state, msr);
  if (!from && msr != kMsrTsc) return generalProtection(core, insn);
  setEdxEax(core, from ? *from : core.clock(insn));
  return next(core, insn);
}

const Insn* wrmsr(Core& core, const Insn* insn) {
  if (core.state.cpl != 0) return generalProtection(core, insn);
  const uint32_t msr = core.reg<uint32_t>(RCX);
  const uint64_t value = edxEax(core);
  core.exit.control.value = value;
  if (!msrIsNative(core, msr, true)) return exitAt(core, insn, ExitKind::Wrmsr);
  if (msr == kMsrTsc) {
    core.state.tscOffset += value - core.clock(insn);
  } else if (!writeMsr(core, msr, value)) {
    return generalProtection(core, insn);
  }
  return leave(core, insn);
}

// ---- I/O ------------------------------------------------------------------------------------------------------------
namespace {

const Insn* io(Core& core, const Insn* insn, uint16_t port, bool in) {
  const uint8_t size = insn->operandSize == 8 ? 4 : insn->operandSize;
  if (!core.ioAllowed(port, size)) return stop(core, insn);
  core.exit.io = {port, size, insn->addressSize, DS, in, false, false};
  return exitAt(core, insn, ExitKind::Io);
}

const Insn* ioString(Core& core, const Insn* insn, bool in) {
  // A repetition exits with a count of 0, too: whoever carries it out looks at the count.
  const uint16_t port = core.reg<uint16_t>(RDX);
  const uint8_t size = insn->operandSize == 8 ? 4 : insn->operandSize;
  if (!core.ioAllowed(port, size)) return stop(core, insn);
  const uint8_t segment = in ? static_cast<uint8_t>(ES) : insn->segment;
  core.exit.io = {port, size, insn->addressSize, segment, in, true, insn->repeat != 0};
  return exitAt(core, insn, ExitKind::Io);
}

uint16_t immediatePort(const Insn* insn) { return insn->imm & 0xff; }

}  // namespace

const Insn* inImm(Core& core, const Insn* insn) { return io(core, insn, immediatePort(insn), true); }
const Insn* outImm(Core& core, const Insn* insn) { return io(core, insn, immediatePort(insn), false); }
const Insn* inDx(Core& core, const Insn* insn) { return io(core, insn, core.reg<uint16_t>(RDX), true); }
const Insn* outDx(Core& core, const Insn* insn) { return io(core, insn, core.reg<uint16_t>(RDX), false); }
const Insn* ins(Core& core, const Insn* insn) { return ioString(core, insn, true); }
const Insn* outs(Core& core, const Insn* insn) { return ioString(core, insn, false); }

// ---- System calls ---------------------------------------------------------------------------------------------------
namespace {

// SYSCALL and its kin load flat segments without looking at descriptors.
void loadFlat(Core& core, uint64_t codeSelector, uint64_t stackSelector, bool code64, unsigned cpl) {
  const uint16_t cs = static_cast<uint16_t>((codeSelector & ~uint64_t{kRpl}) | cpl);
  const uint16_t ss = static_cast<uint16_t>((stackSelector & ~uint64_t{kRpl}) | cpl);
  const uint16_t codeAttrib = code64 ? kFlatCode64 : kFlatCode32;
  core.state.seg[CS] = {cs, static_cast<uint16_t>(codeAttrib | dplBits(cpl)), 0xffffffff, 0};
  core.state.seg[SS] = {ss, static_cast<uint16_t>(kFlatData | dplBits(cpl)), 0xffffffff, 0};
  core.state.cpl = cpl;
  core.updateMode();
}

// SYSCALL and SYSRET: always in AMD's processors, in Intel's only in 64-bit mode.
bool hasSyscall(const Core& core) {
  return core.state.efer & kSCE && (isIntel(core) ? core.code64() : core.protectedMode());
}
// SYSENTER and SYSEXIT: AMD's processors do not have them in long mode.
bool hasSysenter(const Core& core) { return isIntel(core) || !core.longMode(); }

}  // namespace

const Insn* syscall(Core& core, const Insn* insn) {
  if (!hasSyscall(core)) return undefinedOpcode(core, insn);
  State& state = core.state;
  const uint64_t next = core.nextRip(insn), flags = core.rflags(), selector = state.star >> 32;
  uint64_t target = state.star & 0xffffffff;
  state.gpr[RCX] = next;
  if (core.longMode()) {
    target = core.code64() ? state.lstar : state.cstar;
    state.gpr[R11] = flags & ~kRF;
    core.setRflags(flags & ~(state.sfmask & 0xffffffff) & ~kRF);
  } else {
    core.setRflags(flags & ~(kIF | kVM | kRF));
  }
  loadFlat(core, selector, selector + 8, core.longMode(), 0);
  return leaveTo(core, insn, target);
}

const Insn* sysret(Core& core, const Insn* insn) {
  if (!hasSyscall(core)) return undefinedOpcode(core, insn);
  State& state = core.state;
  const bool to64 = core.code64() && insn->operandSize == 8;
  const uint64_t target = to64 ? state.gpr[RCX] : state.gpr[RCX] & 0xffffffff, selector = state.star >> 48;
  if (state.cpl != 0 || (isIntel(core) && !core.canonical(target))) return generalProtection(core, insn);
  if (core.longMode()) {
    constexpr uint64_t kLoaded = 0x3c7fd7;
    core.setRflags(state.gpr[R11] & kLoaded);
  } else {
    core.setRflags(core.rflags() | kIF);
  }
  loadFlat(core, to64 ? selector + 16 : selector, selector + 8, to64, 3);
  return leaveTo(core, insn, target);
}

const Insn* sysenter(Core& core, const Insn* insn) {
  if (!hasSysenter(core)) return undefinedOpcode(core, insn);
  State& state = core.state;
  if (core.realMode() || isNull(static_cast<uint16_t>(state.sysenterCs))) return generalProtection(core, insn);
  const bool wide = core.longMode();
  core.setRflags(core.rflags() & ~(kIF | kVM | kRF));
  state.gpr[RSP] = wide ? state.sysenterEsp : state.sysenterEsp & 0xffffffff;
  const uint64_t target = wide ? state.sysenterEip : state.sysenterEip & 0xffffffff;
  loadFlat(core, state.sysenterCs, state.sysenterCs + 8, wide, 0);
  return leaveTo(core, insn, target);
}

const Insn* sysexit(Core& core, const Insn* insn) {
  State& state = core.state;
  if (!hasSysenter(core)) return state.cpl != 0 ? generalProtection(core, insn) : undefinedOpcode(core, insn);
  const bool noSelector = isNull(static_cast<uint16_t>(state.sysenterCs));
  if (core.realMode() || state.cpl != 0 || noSelector) return generalProtection(core, insn);
  const bool to64 = core.code64() && insn->operandSize == 8;
  const uint64_t mask = to64 ? ~uint64_t{0} : 0xffffffff;
  const uint64_t target = state.gpr[RDX] & mask, sp = state.gpr[RCX] & mask;
  if (to64 && (!core.canonical(target) || !core.canonical(sp))) return generalProtection(core, insn);
  state.gpr[RSP] = sp;
  loadFlat(core, state.sysenterCs + (to64 ? 32 : 16), state.sysenterCs + (to64 ? 40 : 24), to64, 3);
  return leaveTo(core, insn, target);
}

// ---- Bases of FS and GS ---------------------------------------------------------------------------------------------
const Insn* swapgs(Core& core, const Insn* insn) {
  if (!core.code64()) return undefinedOpcode(core, insn);
  if (core.state.cpl != 0) return generalProtection(core, insn);
  uint64_t base = core.state.seg[GS].base;
  core.state.seg[GS].base = core.state.kernelGsBase;
  core.state.kernelGsBase = base;
  core.updateSegment(GS);
  return next(core, insn);
}

namespace {

const Insn* readBase(Core& core, const Insn* insn, Seg seg) {
  if (!core.code64() || !(core.state.cr4 & kFSGSBASE)) return undefinedOpcode(core, insn);
  const uint64_t base = core.state.seg[seg].base;
  core.state.gpr[insn->rm] = insn->operandSize == 8 ? base : base & 0xffffffff;
  return next(core, insn);
}

const Insn* writeBase(Core& core, const Insn* insn, Seg seg) {
  if (!core.code64() || !(core.state.cr4 & kFSGSBASE)) return undefinedOpcode(core, insn);
  uint64_t base = core.state.gpr[insn->rm];
  if (insn->operandSize != 8) base &= 0xffffffff;
  if (!core.canonical(base)) return generalProtection(core, insn);
  core.state.seg[seg].base = base;
  core.updateSegment(seg);
  return next(core, insn);
}

}  // namespace

const Insn* rdfsbase(Core& core, const Insn* insn) { return readBase(core, insn, FS); }
const Insn* rdgsbase(Core& core, const Insn* insn) { return readBase(core, insn, GS); }
const Insn* wrfsbase(Core& core, const Insn* insn) { return writeBase(core, insn, FS); }
const Insn* wrgsbase(Core& core, const Insn* insn) { return writeBase(core, insn, GS); }

// ---- Questions about descriptors ------------------------------------------------------------------------------------
namespace {

enum class Question : uint8_t { Rights, Limit, Read, Write };

bool answerable(const Core& core, const Descriptor& descriptor, Question question) {
  if (!descriptor.system()) {
    const Segment s = descriptor.segment(0);
    if (question == Question::Read) return isReadable(s);
    if (question == Question::Write) return isWritableData(s);
    return true;
  }
  const bool legacy = !core.longMode();
  switch (descriptor.type()) {
    case kLdt:
    case kTss32:
    case kTss32Busy: return question == Question::Rights || question == Question::Limit;
    case kTss16:
    case kTss16Busy: return legacy && (question == Question::Rights || question == Question::Limit);
    case kCallGate32: return question == Question::Rights;
    case kCallGate16:
    case kTaskGate: return legacy && question == Question::Rights;
    default: return false;
  }
}

// Looks up the selector in E. `found`: the descriptor is there, and this program may know the answer. False: a fault.
bool ask(Core& core, const Insn* insn, Question question, Descriptor& descriptor, bool& found) {
  uint16_t selector;
  found = false;
  if (!readWord(core, insn, selector)) return false;
  if (isNull(selector) || !findDescriptor(core, selector, 8, descriptor.address)) return true;
  if (!core.readLinear(descriptor.address, &descriptor.low, 8, true)) return false;
  descriptor.high = 0;
  const bool conforming = isConforming(descriptor.segment(selector));
  const bool privileged = conforming || (core.state.cpl <= descriptor.dpl() && rpl(selector) <= descriptor.dpl());
  found = privileged && answerable(core, descriptor, question);
  return true;
}

const Insn* loadAnswer(Core& core, const Insn* insn, Question question) {
  if (!protectedOnly(core)) return undefinedOpcode(core, insn);
  Descriptor descriptor{};
  bool found;
  if (!ask(core, insn, question, descriptor, found)) return stop(core, insn);
  core.flags.setZf(found);
  if (!found) return next(core, insn);
  uint32_t value =
      question == Question::Limit ? descriptor.limit() : static_cast<uint32_t>(descriptor.low >> 32) & 0x00ffff00;
  if (insn->operandSize == 2)
    core.setReg<uint16_t>(insn->reg, static_cast<uint16_t>(value));
  else
    core.setReg<uint64_t>(insn->reg, value);
  return next(core, insn);
}

const Insn* verify(Core& core, const Insn* insn, Question question) {
  if (!protectedOnly(core)) return undefinedOpcode(core, insn);
  Descriptor descriptor{};
  bool found;
  if (!ask(core, insn, question, descriptor, found)) return stop(core, insn);
  core.flags.setZf(found);
  return next(core, insn);
}

}  // namespace

const Insn* lar(Core& core, const Insn* insn) { return loadAnswer(core, insn, Question::Rights); }
const Insn* lsl(Core& core, const Insn* insn) { return loadAnswer(core, insn, Question::Limit); }
const Insn* verr(Core& core, const Insn* insn) { return verify(core, insn, Question::Read); }
const Insn* verw(Core& core, const Insn* insn) { return verify(core, insn, Question::Write); }

const Insn* arpl(Core& core, const Insn* insn) {
  if (!protectedOnly(core)) return undefinedOpcode(core, insn);
  const uint16_t source = core.reg<uint16_t>(insn->reg);
  uint16_t selector;
  if (!readWord(core, insn, selector)) return stop(core, insn);
  const bool raised = rpl(selector) < rpl(source);
  if (raised) {
    selector = static_cast<uint16_t>((selector & ~kRpl) | rpl(source));
    if (!insn->memory) {
      core.setReg<uint16_t>(insn->rm, selector);
    } else if (!core.write(insn->segment, core.address(insn), selector)) {
      return stop(core, insn);
    }
  }
  core.flags.setZf(raised);
  return next(core, insn);
}

}  // namespace nvmm::cpu
