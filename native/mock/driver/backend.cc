#include "backend.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "../../abi/netbsd_errno.h"
#include "cpuid.h"

namespace nvmm::mock {

using namespace abi;
using cpu::ExitKind;
using cpu::State;

namespace {

constexpr uint64_t kCr4Valid = 0x370fff;  // VME to UMIP, FSGSBASE, PCIDE, OSXSAVE, SMEP, SMAP

constexpr uint8_t kNmiVector = 2, kBreakpoint = 3;

// What comes with MEMORY and IO exits.
constexpr uint64_t kStateOfAccess =
    NVMM_X64_STATE_GPRS | NVMM_X64_STATE_SEGS | NVMM_X64_STATE_CRS | NVMM_X64_STATE_MSRS;

constexpr uint32_t kMsrTsc = 0x10, kMsrMicrocode = 0x8b;

bool pushesError(uint8_t vector) {
  switch (vector) {
    case 8:
    case 10:
    case 11:
    case 12:
    case 13:
    case 14:
    case 17:
    case 30: return true;
    default: return false;
  }
}

// Traps, and the aborts: they do not return to the instruction, so they leave its breakpoint alone.
bool setsResumeFlag(uint8_t vector) { return vector != 1 && vector != 4 && vector != 8 && vector != 18; }

// A segment register looks the same on both sides, but for the reserved bits of its attributes: selector, attributes
// and limit go as one word.
static_assert(sizeof(cpu::Segment) == sizeof(nvmm_x64_state_seg) &&
              offsetof(cpu::Segment, attrib) == offsetof(nvmm_x64_state_seg, attrib) &&
              offsetof(cpu::Segment, limit) == offsetof(nvmm_x64_state_seg, limit) &&
              offsetof(cpu::Segment, base) == offsetof(nvmm_x64_state_seg, base));
constexpr uint64_t kSegmentRsvd = uint64_t{kAttribRsvd} << 8 * offsetof(nvmm_x64_state_seg, attrib);

template <class T>
uint64_t firstWord(const T& segment) {
  uint64_t word;
  std::memcpy(&word, &segment, sizeof word);
  return word;
}

void setSegment(cpu::Segment& to, const nvmm_x64_state_seg& from) {
  const uint64_t word = firstWord(from) & ~kSegmentRsvd;
  std::memcpy(&to, &word, sizeof word);
  to.base = from.base;
}

// The reserved bits of the page's attributes stay as they are.
uint16_t mergeAttrib(uint16_t page, uint16_t attrib) {
  return static_cast<uint16_t>((page & kAttribRsvd) | (attrib & ~kAttribRsvd));
}

void getSegment(nvmm_x64_state_seg& to, const cpu::Segment& from) {
  const uint64_t words[2] = {(firstWord(to) & kSegmentRsvd) | (firstWord(from) & ~kSegmentRsvd), from.base};
  std::memcpy(&to, words, sizeof words);
}

uint64_t low32(uint64_t value) { return value & 0xffffffff; }

}  // namespace

bool isNativeMsr(uint32_t msr, bool write) {
  switch (msr) {
    case kMsrTsc: return !write;
    case 0x174:  // SYSENTER_CS, ESP, EIP
    case 0x175:
    case 0x176:
    case 0xc0000081:  // STAR, LSTAR, CSTAR, SFMASK
    case 0xc0000082:
    case 0xc0000083:
    case 0xc0000084:
    case 0xc0000100:  // FSBASE, GSBASE, KERNELGSBASE
    case 0xc0000101:
    case 0xc0000102: return true;
    default: return false;
  }
}

std::unique_ptr<Backend> Backend::create(const Setup& setup) {
  return setup.model.vendor == cpu::Vendor::Amd ? createSvmBackend(setup) : createVmxBackend(setup);
}

Backend::Backend(const Setup& setup, const Rules& rules)
    : model_(setup.model),
      rules_(rules),
      memory_(setup.memory),
      comm_(setup.comm),
      cpu_(setup.memory, setup.model),
      vcpu_(setup.vcpu),
      vcpuCount_(setup.vcpuCount) {
  cpu_.controls().nativeMsr = rules.nativeMsr;
  cpu_.controls().realTime = setup.realTime;
}

// ---- state ---------------------------------------------------------------------------------------------------------

void Backend::setSegments(const nvmm_x64_state_seg (&from)[NVMM_X64_NSEG]) {
  State& state = cpu_.state();
  for (unsigned i = 0; i < std::size(state.seg); i++) setSegment(state.seg[i], from[i]);
  setSegment(state.ldtr, from[NVMM_X64_SEG_LDT]);
  setSegment(state.tr, from[NVMM_X64_SEG_TR]);
  const auto& gdt = from[NVMM_X64_SEG_GDT];
  const auto& idt = from[NVMM_X64_SEG_IDT];
  state.gdtr = {gdt.base, gdt.limit};
  state.idtr = {idt.base, idt.limit};
  if (rules_.tableAttributes) {
    gdt_ = {gdt.selector, gdt.attrib};
    idt_ = {idt.selector, idt.attrib};
  }
  state.cpl = state.seg[cpu::SS].dpl();
}

void Backend::getSegments(nvmm_x64_state_seg (&to)[NVMM_X64_NSEG]) {
  const State& state = cpu_.state();
  for (unsigned i = 0; i < std::size(state.seg); i++) getSegment(to[i], state.seg[i]);
  getSegment(to[NVMM_X64_SEG_LDT], state.ldtr);
  getSegment(to[NVMM_X64_SEG_TR], state.tr);
  const auto getTable = [](nvmm_x64_state_seg& table, const cpu::TableRegister& from, const TableAttributes& kept) {
    table = {kept.selector, mergeAttrib(table.attrib, kept.attrib), from.limit, from.base};
  };
  getTable(to[NVMM_X64_SEG_GDT], state.gdtr, gdt_);
  getTable(to[NVMM_X64_SEG_IDT], state.idtr, idt_);
  uint16_t& ss = to[NVMM_X64_SEG_SS].attrib;
  ss = static_cast<uint16_t>((ss & ~kAttribDpl) | state.cpl << 5);
}

void Backend::setFpu(const fxsave& from) {
  fxsave fpu;
  std::memcpy(&fpu, &from, sizeof fpu);
  // The mask is the caller's, so that a caller who leaves it 0 clears MXCSR: as the driver does.
  fpu.fx_mxcsr_mask &= model_.mxcsrMask;
  fpu.fx_mxcsr &= fpu.fx_mxcsr_mask;
  static_assert(sizeof fpu == sizeof(cpu::FpuImage));
  std::memcpy(&cpu_.state().fpu, &fpu, sizeof fpu);
}

void Backend::setState(uint64_t pieces) {
  State& state = cpu_.state();
  const nvmm_x64_state& from = comm_.state;
  if (pieces & NVMM_X64_STATE_SEGS) setSegments(from.segs);
  if (pieces & NVMM_X64_STATE_GPRS) {
    std::memcpy(state.gpr, from.gprs, 16 * sizeof(uint64_t));
    state.rip = from.gprs[NVMM_X64_GPR_RIP];
    state.rflags = from.gprs[NVMM_X64_GPR_RFLAGS];
  }
  if (pieces & NVMM_X64_STATE_CRS) {
    state.cr0 = from.crs[NVMM_X64_CR_CR0] | rules_.cr0Forced;
    state.cr2 = from.crs[NVMM_X64_CR_CR2];
    state.cr3 = from.crs[NVMM_X64_CR_CR3];
    state.cr4 = from.crs[NVMM_X64_CR_CR4] & kCr4Valid;
    state.cr8 = from.crs[NVMM_X64_CR_CR8] & rules_.cr8Mask;
    if (xcr0Mask() != 0) state.xcr0 = (from.crs[NVMM_X64_CR_XCR0] & xcr0Mask()) | 1;
  }
  if (pieces & NVMM_X64_STATE_DRS) {
    std::memcpy(state.dr, from.drs, sizeof state.dr);
    state.dr6 = from.drs[NVMM_X64_DR_DR6] & rules_.dr6Mask;
    state.dr7 = from.drs[NVMM_X64_DR_DR7];
  }
  if (pieces & NVMM_X64_STATE_MSRS) {
    state.efer = from.msrs[NVMM_X64_MSR_EFER] & ~rules_.eferHidden;
    state.star = from.msrs[NVMM_X64_MSR_STAR];
    state.lstar = from.msrs[NVMM_X64_MSR_LSTAR];
    state.cstar = from.msrs[NVMM_X64_MSR_CSTAR];
    state.sfmask = from.msrs[NVMM_X64_MSR_SFMASK];
    state.kernelGsBase = from.msrs[NVMM_X64_MSR_KERNELGSBASE];
    state.sysenterCs = from.msrs[NVMM_X64_MSR_SYSENTER_CS];
    state.sysenterEsp = from.msrs[NVMM_X64_MSR_SYSENTER_ESP];
    state.sysenterEip = from.msrs[NVMM_X64_MSR_SYSENTER_EIP];
    state.pat = from.msrs[NVMM_X64_MSR_PAT];
    state.tscOffset = from.msrs[NVMM_X64_MSR_TSC] - cpu_.clock();
  }
  if (pieces & NVMM_X64_STATE_INTR) {
    const uint64_t bits = load(from.intr.bits);
    state.interruptShadow = bits & kIntrIntShadow;
    state.shadowOfSti = false;  // VMX tells the two apart, and gets that of MOV SS
    cpu_.controls().interruptWindow = bits & kIntrIntWindowExiting;
    nmiWindow() = bits & kIntrNmiWindowExiting;
  }
  if (pieces & NVMM_X64_STATE_FPU) setFpu(from.fpu);
}

void Backend::getState(uint64_t pieces) {
  const State& state = cpu_.state();
  nvmm_x64_state& to = comm_.state;
  if (pieces & NVMM_X64_STATE_SEGS) getSegments(to.segs);
  if (pieces & NVMM_X64_STATE_GPRS) {
    std::memcpy(to.gprs, state.gpr, 16 * sizeof(uint64_t));
    to.gprs[NVMM_X64_GPR_RIP] = state.rip;
    to.gprs[NVMM_X64_GPR_RFLAGS] = state.rflags;
  }
  if (pieces & NVMM_X64_STATE_CRS) {
    to.crs[NVMM_X64_CR_CR0] = state.cr0;
    to.crs[NVMM_X64_CR_CR2] = state.cr2;
    to.crs[NVMM_X64_CR_CR3] = state.cr3;
    to.crs[NVMM_X64_CR_CR4] = state.cr4;
    to.crs[NVMM_X64_CR_CR8] = state.cr8;
    to.crs[NVMM_X64_CR_XCR0] = state.xcr0;
  }
  if (pieces & NVMM_X64_STATE_DRS) {
    std::memcpy(to.drs, state.dr, sizeof state.dr);
    to.drs[NVMM_X64_DR_DR6] = state.dr6;
    to.drs[NVMM_X64_DR_DR7] = state.dr7;
  }
  if (pieces & NVMM_X64_STATE_MSRS) {
    to.msrs[NVMM_X64_MSR_EFER] = state.efer & ~rules_.eferHidden;
    to.msrs[NVMM_X64_MSR_STAR] = state.star;
    to.msrs[NVMM_X64_MSR_LSTAR] = state.lstar;
    to.msrs[NVMM_X64_MSR_CSTAR] = state.cstar;
    to.msrs[NVMM_X64_MSR_SFMASK] = state.sfmask;
    to.msrs[NVMM_X64_MSR_KERNELGSBASE] = state.kernelGsBase;
    to.msrs[NVMM_X64_MSR_SYSENTER_CS] = state.sysenterCs;
    to.msrs[NVMM_X64_MSR_SYSENTER_ESP] = state.sysenterEsp;
    to.msrs[NVMM_X64_MSR_SYSENTER_EIP] = state.sysenterEip;
    to.msrs[NVMM_X64_MSR_PAT] = state.pat;
    to.msrs[NVMM_X64_MSR_TSC] = cpu_.clock() + state.tscOffset;
  }
  if (pieces & NVMM_X64_STATE_INTR) store(to.intr.bits, (load(to.intr.bits) & kIntrRsvd) | intrBits());
  if (pieces & NVMM_X64_STATE_FPU) {
    std::memcpy(&to.fpu, &state.fpu, sizeof to.fpu);
    to.fpu.fx_mxcsr_mask = model_.mxcsrMask;
  }
}

uint64_t Backend::intrBits() {
  return (cpu_.state().interruptShadow ? kIntrIntShadow : 0) |
         (cpu_.controls().interruptWindow ? kIntrIntWindowExiting : 0) | (nmiWindow() ? kIntrNmiWindowExiting : 0) |
         (evtPending_ ? kIntrEvtPending : 0);
}

void Backend::provide(uint64_t pieces) {
  getState(pieces);
  store(comm_.state_cached, load(comm_.state_cached) | pieces);
}

// ---- events --------------------------------------------------------------------------------------------------------

int Backend::inject() {
  const uint32_t type = load(comm_.event.type);
  const uint8_t vector = load(comm_.event.vector);
  const uint64_t error = load(comm_.event.u.excp.error);
  cpu::Event event;
  event.vector = vector;
  switch (type) {
    case NVMM_VCPU_EVENT_EXCP:
      if (vector == 0 || vector == kNmiVector || vector == kBreakpoint || vector >= 32) return netbsd::kINVAL;
      event.kind = cpu::EventKind::HardwareException;
      event.hasError = pushesError(vector);
      if (event.hasError) event.error = static_cast<uint32_t>(error);
      if (setsResumeFlag(vector)) cpu_.state().rflags |= cpu::kRF;
      break;
    case NVMM_VCPU_EVENT_INTR:
      event.kind = vector == kNmiVector ? cpu::EventKind::Nmi : cpu::EventKind::ExternalInterrupt;
      if (vector == kNmiVector) nmiWindow() = true;
      break;
    default: return netbsd::kINVAL;
  }
  cpu_.controls().inject = event;
  evtPending_ = true;
  return netbsd::kOK;
}

void Backend::fault(uint8_t vector) {
  store(comm_.event.type, NVMM_VCPU_EVENT_EXCP);
  store(comm_.event.vector, vector);
  store(comm_.event.u.excp.error, uint64_t{0});
  inject();
}

// ---- configuration -------------------------------------------------------------------------------------------------

int Backend::configureCpuid(const nvmm_vcpu_conf_cpuid& conf) {
  const bool mask = conf.bits & kConfCpuidMask, exit = conf.bits & kConfCpuidExit;
  if (mask && exit) return netbsd::kINVAL;
  const auto& [set, del] = conf.u.mask;
  if (mask && ((set.eax & del.eax) || (set.ebx & del.ebx) || (set.ecx & del.ecx) || (set.edx & del.edx))) {
    return netbsd::kINVAL;
  }
  const auto present = std::find_if(cpuid_.begin(), cpuid_.end(), [&](const CpuidEntry& entry) {
    return entry.used && entry.conf.leaf == conf.leaf;
  });
  if (!mask && !exit) {
    if (present != cpuid_.end()) present->used = false;
    return netbsd::kOK;
  }
  const auto entry = present != cpuid_.end()
                         ? present
                         : std::find_if(cpuid_.begin(), cpuid_.end(), [](const CpuidEntry& e) { return !e.used; });
  if (entry == cpuid_.end()) return netbsd::kNOBUFS;
  *entry = {true, conf};
  return netbsd::kOK;
}

// ---- exits ---------------------------------------------------------------------------------------------------------

[[gnu::flatten]] void Backend::enter(uint64_t budget, nvmm_x86_exit& exit) {
  const cpu::Exit& hw = cpu_.run(budget);
  exit.reason = NVMM_VCPU_EXIT_NONE;
  if (hw.kind == ExitKind::InvalidState) return refuseEntry(hw, exit);
  evtPending_ = hw.deliveryInterrupted;
  if (hw.deliveryInterrupted) cpu_.controls().inject = hw.event;
  switch (hw.kind) {
    case ExitKind::Budget: break;
    case ExitKind::Memory: memoryExit(hw, exit); break;
    case ExitKind::Io: ioExit(hw, exit); break;
    case ExitKind::Halt:
      if (cpu_.state().rflags & cpu::kIF) cpu_.controls().interruptWindow = false;
      advance(hw);
      exit.reason = NVMM_VCPU_EXIT_HALTED;
      break;
    case ExitKind::Cpuid: cpuidExit(hw, exit); break;
    case ExitKind::Rdmsr:
    case ExitKind::Wrmsr: msrExit(hw, exit); break;
    case ExitKind::Monitor:
    case ExitKind::Mwait:
      exit.reason = hw.kind == ExitKind::Monitor ? NVMM_VCPU_EXIT_MONITOR : NVMM_VCPU_EXIT_MWAIT;
      exit.u.insn.npc = hw.nextRip;
      break;
    case ExitKind::Refused: fault(kUD); break;
    case ExitKind::InterruptWindow:
      cpu_.controls().interruptWindow = false;
      exit.reason = NVMM_VCPU_EXIT_INT_READY;
      break;
    case ExitKind::Iret:
    case ExitKind::NmiWindow:
      nmiWindow() = false;
      exit.reason = NVMM_VCPU_EXIT_NMI_READY;
      break;
    case ExitKind::Shutdown: exit.reason = NVMM_VCPU_EXIT_SHUTDOWN; break;
    default: handle(hw, exit); break;
  }
}

void Backend::leaveWith(const nvmm_x86_exit& wanted, nvmm_x86_exit& exit) {
  exit.reason = wanted.reason;
  exit.u = wanted.u;
  switch (wanted.reason) {
    case NVMM_VCPU_EXIT_MEMORY:
    case NVMM_VCPU_EXIT_IO: provide(kStateOfAccess); break;
    case NVMM_VCPU_EXIT_RDMSR:
    case NVMM_VCPU_EXIT_WRMSR: provide(NVMM_X64_STATE_GPRS); break;
    default: break;
  }
}

void Backend::exitState(nvmm_x86_exit& exit) {
  const State& state = cpu_.state();
  exit.exitstate.rflags = state.rflags;
  exit.exitstate.cr8 = state.cr8;
  exit.exitstate.bits = (exit.exitstate.bits & kIntrRsvd) | intrBits();
}

void Backend::advance(const cpu::Exit& hw) {
  State& state = cpu_.state();
  state.rip = hw.nextRip;
  state.rflags &= ~cpu::kRF;
  state.interruptShadow = false;
}

void Backend::invalid(nvmm_x86_exit& exit, uint64_t hwcode) {
  exit.reason = NVMM_VCPU_EXIT_INVALID;
  exit.u.inv.hwcode = hwcode;
}

void Backend::memoryExit(const cpu::Exit& hw, nvmm_x86_exit& exit) {
  auto& mem = exit.u.mem;
  exit.reason = NVMM_VCPU_EXIT_MEMORY;
  mem.prot = hw.memory.access == cpu::Fault::Write     ? cpu::kWritable
             : hw.memory.access == cpu::Fault::Execute ? cpu::kExecutable
                                                       : cpu::kReadable;
  mem.gpa = hw.memory.gpa;
  mem.inst_len = rules_.instructionBytes ? hw.memory.length : 0;
  if (rules_.instructionBytes) std::memcpy(mem.inst_bytes, hw.memory.bytes, sizeof mem.inst_bytes);
  provide(kStateOfAccess);
}

void Backend::ioExit(const cpu::Exit& hw, nvmm_x86_exit& exit) {
  auto& io = exit.u.io;
  exit.reason = NVMM_VCPU_EXIT_IO;
  io.in = hw.io.in;
  io.port = hw.io.port;
  io.seg = static_cast<int8_t>(hw.io.segment);
  io.address_size = hw.io.addressSize;
  io.operand_size = hw.io.operandSize;
  io.rep = hw.io.repeat;
  io.str = hw.io.string;
  io.npc = hw.nextRip;
  provide(kStateOfAccess);
}

void Backend::cpuidExit(const cpu::Exit& hw, nvmm_x86_exit& exit) {
  State& state = cpu_.state();
  const auto leaf = static_cast<uint32_t>(state.gpr[cpu::RAX]), subleaf = static_cast<uint32_t>(state.gpr[cpu::RCX]);
  auto [eax, ebx, ecx, edx] =
      filteredCpuid(model_, leaf, subleaf, {vcpu_, vcpuCount_.load(std::memory_order_relaxed), state.cr4, state.xcr0});
  const auto entry =
      std::find_if(cpuid_.begin(), cpuid_.end(), [&](const CpuidEntry& e) { return e.used && e.conf.leaf == leaf; });
  if (entry != cpuid_.end() && entry->conf.bits & kConfCpuidMask) {
    const auto& [set, del] = entry->conf.u.mask;
    eax = (eax & ~del.eax) | set.eax;
    ebx = (ebx & ~del.ebx) | set.ebx;
    ecx = (ecx & ~del.ecx) | set.ecx;
    edx = (edx & ~del.edx) | set.edx;
  }
  state.gpr[cpu::RAX] = eax;
  state.gpr[cpu::RBX] = ebx;
  state.gpr[cpu::RCX] = ecx;
  state.gpr[cpu::RDX] = edx;
  if (entry != cpuid_.end() && entry->conf.bits & kConfCpuidExit) {
    exit.reason = NVMM_VCPU_EXIT_CPUID;
    exit.u.insn.npc = hw.nextRip;
  } else {
    advance(hw);
  }
}

void Backend::msrExit(const cpu::Exit& hw, nvmm_x86_exit& exit) {
  State& state = cpu_.state();
  const bool write = hw.kind == ExitKind::Wrmsr;
  const auto msr = static_cast<uint32_t>(state.gpr[cpu::RCX]);
  uint64_t value = hw.control.value;
  MsrAccess access = MsrAccess::Done;
  if (write && msr == kMsrTsc) {
    state.tscOffset = value - cpu_.clock();
  } else if (msr == kMsrMicrocode) {
    value = 0;  // and writes are ignored
  } else {
    access = write ? writeMsr(msr, value) : readMsr(msr, &value);
  }
  switch (access) {
    case MsrAccess::Done:
      if (!write) {
        state.gpr[cpu::RAX] = low32(value);
        state.gpr[cpu::RDX] = value >> 32;
      }
      advance(hw);
      break;
    case MsrAccess::Fault: fault(kGP); break;
    case MsrAccess::Exit:
      exit.reason = write ? NVMM_VCPU_EXIT_WRMSR : NVMM_VCPU_EXIT_RDMSR;
      if (write) {
        exit.u.wrmsr.msr = msr;
        exit.u.wrmsr.val = value;
        exit.u.wrmsr.npc = hw.nextRip;
      } else {
        exit.u.rdmsr.msr = msr;
        exit.u.rdmsr.npc = hw.nextRip;
      }
      provide(NVMM_X64_STATE_GPRS);
      break;
  }
}

void Backend::setXcr0(const cpu::Exit& hw, bool allowed) {
  State& state = cpu_.state();
  const uint64_t value = hw.control.value;
  if (!allowed || state.gpr[cpu::RCX] != 0 || (value & ~xcr0Mask()) || !(value & 1)) return fault(kGP);
  state.xcr0 = value;
  advance(hw);
}

}  // namespace nvmm::mock
