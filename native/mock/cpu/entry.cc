// The checks at the entry to the guest: what VMRUN and VM entry refuse, by the manuals of the two vendors.
#include <cstring>

#include "core.h"
#include "descriptors.h"

namespace nvmm::cpu {
namespace {

// ---- AMD ------------------------------------------------------------------------------------------------------------
bool acceptedByAmd(const Core& core) {
  const State& state = core.state;
  const uint64_t upperHalf = uint64_t{0xffffffff} << 32;
  const bool longPaging = state.efer & kLME && state.cr0 & kPG;
  if (state.cr0 & kNW && !(state.cr0 & kCD)) return false;
  if ((state.cr0 | state.dr6 | state.dr7) & upperHalf) return false;
  if (state.cr4 & core.model.cr4Reserved || state.efer & core.model.eferReserved) return false;
  if (longPaging && (!(state.cr4 & kPAE) || !(state.cr0 & kPE))) return false;
  if (longPaging && state.seg[CS].longMode() && state.seg[CS].big()) return false;
  // Event injection: of the exceptions this vector is never one.
  return core.controls.inject.kind != EventKind::HardwareException || core.controls.inject.vector != 31;
}

// What VMRUN derives instead of checking it.
void normalize(Core& core) {
  State& state = core.state;
  state.rflags |= kFlagsFixed;
  state.efer &= ~kLMA;
  if (state.efer & kLME && state.cr0 & kPG) state.efer |= kLMA;
  if (!(state.cr0 & kPE))
    state.cpl = 0;
  else if (state.rflags & kVM)
    state.cpl = 3;
  constexpr uint8_t kSecurityException = 30;  // injected, it pushes no error code
  Event& event = core.controls.inject;
  if (event.kind == EventKind::HardwareException && event.vector == kSecurityException) event.hasError = false;
}

// ---- Intel ----------------------------------------------------------------------------------------------------------
// VM-entry interruption information: an error code where the exception has one, protected mode, and 16 bits of it.
bool validInjection(const Core& core) {
  const Event& event = core.controls.inject;
  if (!event.hasError) return true;
  const bool has = event.vector == vector::DF || (event.vector >= vector::TS && event.vector <= vector::PF) ||
                   event.vector == vector::AC;
  return event.kind == EventKind::HardwareException && has && core.protectedMode() && !(event.error >> 16);
}

bool interruptible(const Core& core) {
  const State& state = core.state;
  switch (core.controls.inject.kind) {
    case EventKind::ExternalInterrupt: return state.rflags & kIF && !state.interruptShadow;
    case EventKind::Nmi: return !state.nmiBlocked && !state.interruptShadow;
    default: return true;
  }
}

bool validControlRegisters(const Core& core) {
  const State& state = core.state;
  const bool paging = state.cr0 & kPG, lma = state.efer & kLMA;
  if (state.cr0 >> 32 || (paging && !(state.cr0 & kPE))) return false;
  if (state.cr4 & core.model.cr4Reserved || (state.cr4 & kPCIDE && !lma)) return false;
  if (lma && !(paging && state.cr4 & kPAE)) return false;
  if (state.efer & core.model.eferReserved || (paging && static_cast<bool>(state.efer & kLME) != lma)) return false;
  return !(state.cr3 >> core.model.physicalAddressBits) && !(state.dr7 >> 32);
}

bool validMsrs(const Core& core) {
  const State& state = core.state;
  return validPat(state.pat) && core.canonical(state.sysenterEsp) && core.canonical(state.sysenterEip);
}

// Limits below a page have G = 0 or end at a page's end, those above 1 MiB have G = 1.
bool validGranularity(const Segment& s) {
  const bool g = s.attrib & 0x800;
  return !(g && (s.limit & 0xfff) != 0xfff) && !(!g && s.limit >> 20);
}

bool validV86Segments(const State& state) {
  for (const Segment& s : state.seg) {
    if (s.base != uint64_t{s.selector} << 4 || s.limit != 0xffff || (s.attrib & 0xff) != kV86Attrib) return false;
  }
  return true;
}

bool validCode(const State& state) {
  const Segment& cs = state.seg[CS];
  const unsigned stackDpl = state.seg[SS].dpl();
  if (cs.system() || !cs.present() || cs.base >> 32 || !validGranularity(cs)) return false;
  if (state.efer & kLMA && cs.longMode() && cs.big()) return false;
  switch (cs.type()) {
    case 3: return cs.dpl() == 0 && stackDpl == 0;  // a data segment: for unrestricted guests
    case 9:
    case 11: return cs.dpl() == stackDpl;
    case 13:
    case 15: return cs.dpl() <= stackDpl;
    default: return false;
  }
}

bool validData(const Segment& s) {
  if (!s.present()) return true;
  const bool unreadable = s.type() & 8 && !(s.type() & 2);
  return !s.system() && s.type() & kAccessed && !unreadable && validGranularity(s);
}

bool validSegments(const Core& core) {
  const State& state = core.state;
  for (const Segment* s : {&state.tr, &state.seg[FS], &state.seg[GS], &state.ldtr}) {
    if ((s->present() || s != &state.ldtr) && !core.canonical(s->base)) return false;
  }
  if (state.rflags & kVM) {
    if (!validV86Segments(state)) return false;
  } else {
    const Segment& ss = state.seg[SS];
    if (!validCode(state)) return false;
    if (!(state.cr0 & kPE) && ss.dpl() != 0) return false;
    if (ss.present() && (ss.type() & 0xb) != 3) return false;  // read-write, accessed
    for (unsigned seg : {ES, SS, DS, FS, GS}) {
      if (!validData(state.seg[seg])) return false;
    }
    for (unsigned seg : {ES, SS, DS}) {
      if (state.seg[seg].present() && state.seg[seg].base >> 32) return false;
    }
  }

  const Segment &tr = state.tr, &ldtr = state.ldtr;
  const bool busyTss = tr.type() == kTss32Busy || (tr.type() == kTss16Busy && !(state.efer & kLMA));
  if (!busyTss || !tr.system() || !tr.present() || !validGranularity(tr) || tr.selector & kTableIndicator) return false;
  if (!ldtr.present()) return true;
  return ldtr.type() == kLdt && ldtr.system() && validGranularity(ldtr) && !(ldtr.selector & kTableIndicator);
}

// They rarely change between two entries.
bool segmentsAccepted(Core& core) {
  const State& state = core.state;
  auto& last = core.validSegments;
  const uint64_t mode = (state.cr0 & kPE) | (state.rflags & kVM) | (state.efer & kLMA);
  const bool same = mode == last.mode && std::memcmp(state.seg, last.seg, sizeof(last.seg)) == 0 &&
                    std::memcmp(&state.ldtr, &last.ldtr, sizeof(Segment)) == 0 &&
                    std::memcmp(&state.tr, &last.tr, sizeof(Segment)) == 0;
  if (same) return true;
  if (!validSegments(core)) return false;
  std::memcpy(last.seg, state.seg, sizeof(last.seg));
  last.ldtr = state.ldtr;
  last.tr = state.tr;
  last.mode = mode;
  return true;
}

bool validTables(const Core& core) {
  for (const TableRegister* table : {&core.state.gdtr, &core.state.idtr}) {
    if (!core.canonical(table->base) || table->limit > 0xffff) return false;
  }
  return true;
}

bool validRip(const Core& core) {
  const State& state = core.state;
  if (state.efer & kLMA && state.seg[CS].longMode()) return core.canonical(state.rip);
  return !(state.rip >> 32);
}

bool validFlags(const State& state) {
  constexpr uint64_t kReserved = ~uint64_t{0x3fffff} | 1 << 15 | 1 << 5 | 1 << 3;
  if (state.rflags & kReserved || !(state.rflags & kFlagsFixed)) return false;
  if (state.rflags & kVM && (state.efer & kLMA || !(state.cr0 & kPE))) return false;
  return !(state.interruptShadow && state.shadowOfSti && !(state.rflags & kIF));
}

bool validState(Core& core) {
  return validControlRegisters(core) && validMsrs(core) && segmentsAccepted(core) && validTables(core) &&
         validRip(core) && validFlags(core.state) && interruptible(core);
}

bool validLoadedMsrs(const Core& core) {
  const State& state = core.state;
  return core.canonical(state.lstar) && core.canonical(state.cstar) && core.canonical(state.kernelGsBase);
}

constexpr uint64_t kDr7Fixed = 1 << 10;

bool refuse(Core& core, Refusal refusal) {
  core.exit.refusal = refusal;
  return core.leaveWith(ExitKind::InvalidState);
}

}  // namespace

bool Core::checkEntry() {
  if (!state.interruptShadow) state.shadowOfSti = false;
  if (model.vendor == Vendor::Amd) {
    if (!acceptedByAmd(*this)) return refuse(*this, Refusal::State);
    normalize(*this);
    return true;
  }
  if (!validInjection(*this)) return refuse(*this, Refusal::Control);
  if (!validState(*this)) return refuse(*this, Refusal::State);
  if (!validLoadedMsrs(*this)) return refuse(*this, Refusal::Msrs);
  state.dr7 |= kDr7Fixed;
  return true;
}

}  // namespace nvmm::cpu
