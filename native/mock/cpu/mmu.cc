// From a segment and an offset to the bytes in the host: segment checks, translation, guest-physical access, the TLB.
#include <algorithm>

#include "core.h"
#include "segments.h"

namespace nvmm::cpu {
namespace {

// What #AC asks of an access of this size.
unsigned requiredAlignment(unsigned size) {
  switch (size) {
    case 1:
    case 2:
    case 4:
    case 8: return size;
    case 10: return 8;  // a real or decimal of the x87
    case 14:
    case 94: return 2;  // its environment, its whole state: fields of 16 bits
    case 28:
    case 108: return 4;  // of 32
    default: return 1;
  }
}

}  // namespace

bool misaligned(const Core& core, uint64_t linear, unsigned size) {
  if (core.state.cpl != 3 || !(core.state.cr0 & kAM) || !(core.state.rflags & kAC)) return false;
  // Intel's processors let the unaligned moves of 16 bytes pass.
  const unsigned alignment = size == 16 && core.amd() ? 16 : requiredAlignment(size);
  return linear & (alignment - 1);
}

namespace {

constexpr uint64_t kPageMask = ~uint64_t{0xfff};

// Bits of page-table entries
constexpr uint64_t kEntryP = 1, kEntryRw = 1 << 1, kEntryUs = 1 << 2, kEntryA = 1 << 5, kEntryD = 1 << 6,
                   kEntryPs = 1 << 7, kEntryNx = uint64_t{1} << 63;
constexpr uint64_t kEntryAddress = 0x000ffffffffff000;

// Bits of the error code of #PF
constexpr uint32_t kErrorP = 1, kErrorW = 1 << 1, kErrorU = 1 << 2, kErrorRsvd = 1 << 3, kErrorI = 1 << 4;

// Whose rights count. Implicit accesses (descriptor tables, TSS, new stacks) are the supervisor's at any CPL, and SMAP
// forbids them user pages whatever AC says.
enum class As : uint8_t { User, Supervisor, Implicit };

As currentlyAs(const Core& core) { return core.state.cpl == 3 ? As::User : As::Supervisor; }

struct Translation {
  uint64_t physical;
  bool user;
  bool large;
};

bool pageFault(Core& core, uint64_t linear, Access access, As as, uint32_t error) {
  if (access == Access::Write) error |= kErrorW;
  if (as == As::User) error |= kErrorU;
  bool reportsFetch = (core.state.cr4 & kPAE && core.state.efer & kNXE) || core.state.cr4 & kSMEP;
  if (access == Access::Execute && reportsFetch) error |= kErrorI;
  core.state.cr2 = linear;
  return core.raise(vector::PF, error);
}

// VMX saves RF = 1 with such an exit, as a fault would push it. Of an interrupted delivery it saves what that would
// push: Core::deliver.
bool physicalFault(Core& core, uint64_t gpa, Fault access, bool instructionBytes) {
  if (core.model.vendor == Vendor::Intel && !core.delivery.active) core.state.rflags |= kRF;
  return core.memoryExit(gpa, access, instructionBytes);
}

// The processor sets accessed and dirty bits, so nested paging sees every access to a table as a write.
uint8_t* tableEntry(Core& core, uint64_t gpa) {
  HostPage page = core.memory.page(gpa);
  if (page.host && page.prot & kReadable && page.prot & kWritable) return page.host + (gpa & 0xfff);
  physicalFault(core, gpa, Fault::Write, false);
  return nullptr;
}

// False: another processor has changed the entry meanwhile.
template <typename Entry>
bool setBits(Core& core, uint8_t* host, uint64_t& entry, uint64_t bits) {
  if ((entry & bits) == bits) return true;
  Entry expected = static_cast<Entry>(entry);
  entry |= bits;
  bool unchanged = __atomic_compare_exchange_n(reinterpret_cast<Entry*>(host), &expected, static_cast<Entry>(entry),
                                               false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
  if (unchanged) core.wrote(host, sizeof(Entry));
  return unchanged;
}

struct Level {
  uint8_t shift;  // of the linear address's bits that index this table
  bool pages;     // may have PS, and then maps a page of 1 << shift bytes
};
constexpr Level k32Bit[] = {{22, true}, {12, false}};
constexpr Level kPae[] = {{21, true}, {12, false}};
constexpr Level k64Bit[] = {{39, false}, {30, true}, {21, true}, {12, false}};

// In a PDPTE of legacy PAE paging
uint64_t pdpteReserved(const Core& core) { return 0x1e6 | ~uint64_t{0} << core.model.physicalAddressBits; }

// Walks the tables once. False: a fault is recorded, or, with `again` set, another processor has changed an entry
// meanwhile.
template <typename Entry, size_t kLevels>
bool walk(Core& core, uint64_t linear, Access access, As as, const Level (&levels)[kLevels], uint64_t table,
          Translation& translation, bool& again) {
  constexpr bool kWide = sizeof(Entry) == 8;
  constexpr unsigned kIndexBits = kWide ? 9 : 10;
  const State& state = core.state;
  bool mayHaveLarge = kWide || state.cr4 & kPSE;
  uint64_t aboveWidth = kEntryAddress & ~uint64_t{0} << core.model.physicalAddressBits;
  if (kLevels == 2 && kWide) aboveWidth |= uint64_t{0x7ff} << 52;  // PAE: the bits up to NX are reserved
  if (!(state.efer & kNXE)) aboveWidth |= kEntryNx;
  const uint64_t reserved = kWide ? aboveWidth : 0;

  bool writable = true, user = true, executable = true;
  for (const Level& level : levels) {
    uint64_t index = linear >> level.shift & ((1u << kIndexBits) - 1);
    uint8_t* host = tableEntry(core, table + index * sizeof(Entry));
    if (!host) return false;
    uint64_t entry = __atomic_load_n(reinterpret_cast<Entry*>(host), __ATOMIC_RELAXED);
    if (!(entry & kEntryP)) return pageFault(core, linear, access, as, 0);
    bool large = level.shift > 12 && entry & kEntryPs && mayHaveLarge;
    bool bad = entry & reserved || (large && !level.pages);
    uint64_t pageSize = uint64_t{1} << level.shift;
    uint64_t frame = entry & kEntryAddress;
    if (large) {
      if (kWide) {
        bad |= (entry & (pageSize - 1) & kEntryAddress & ~uint64_t{0x1000}) != 0;  // bit 12 is PAT
      } else {  // PSE-36: bits 20..13 are the address's 39..32
        frame = (entry & 0xffc00000) | (entry >> 13 & 0xff) << 32;
        bad |= entry & 1 << 21 || frame >> core.model.physicalAddressBits;
      }
      frame &= ~(pageSize - 1);
    }
    if (bad) return pageFault(core, linear, access, as, kErrorP | kErrorRsvd);
    writable &= (entry & kEntryRw) != 0;
    user &= (entry & kEntryUs) != 0;
    executable &= !(entry & kEntryNx);
    if (!large && level.shift > 12) {
      if (!setBits<Entry>(core, host, entry, kEntryA)) return again = true, false;
      table = frame;
      continue;
    }

    bool allowed = true;
    if (as == As::User) {
      allowed = user;
    } else {
      if (user && access == Access::Execute && state.cr4 & kSMEP) allowed = false;
      if (user && access != Access::Execute && state.cr4 & kSMAP && !(as == As::Supervisor && state.rflags & kAC)) {
        allowed = false;
      }
      if (!(state.cr0 & kWP)) writable = true;
    }
    if ((access == Access::Write && !writable) || (access == Access::Execute && !executable)) allowed = false;
    if (!allowed) return pageFault(core, linear, access, as, kErrorP);
    uint64_t bits = access == Access::Write ? kEntryA | kEntryD : kEntryA;
    if (!setBits<Entry>(core, host, entry, bits)) return again = true, false;
    translation = {frame | (linear & (pageSize - 1)), user, large};
    return true;
  }
  return false;  // not reached: the last level has shift 12
}

bool translate(Core& core, uint64_t linear, Access access, As as, Translation& translation) {
  const State& state = core.state;
  for (;;) {
    bool again = false, done;
    if (!(state.cr0 & kPG)) {
      translation = {linear, false, false};
      return true;
    }
    if (state.efer & kLMA) {
      done = walk<uint64_t>(core, linear, access, as, k64Bit, state.cr3 & kEntryAddress, translation, again);
    } else if (state.cr4 & kPAE) {
      uint64_t pointer = core.pdpte[linear >> 30 & 3];
      if (core.model.vendor == Vendor::Amd) {  // under nested paging they are read when needed, and checked then
        uint8_t* host = tableEntry(core, (state.cr3 & 0xffffffe0) + (linear >> 30 & 3) * 8);
        if (!host) return false;
        pointer = __atomic_load_n(reinterpret_cast<uint64_t*>(host), __ATOMIC_RELAXED);
        if (pointer & kEntryP && pointer & pdpteReserved(core)) {
          return pageFault(core, linear, access, as, kErrorP | kErrorRsvd);
        }
      }
      if (!(pointer & kEntryP)) return pageFault(core, linear, access, as, 0);
      done = walk<uint64_t>(core, linear, access, as, kPae, pointer & kEntryAddress, translation, again);
    } else {
      done = walk<uint32_t>(core, linear, access, as, k32Bit, state.cr3 & 0xfffff000, translation, again);
    }
    if (done || !again) return done;
  }
}

// The host's address of a byte, to its page's end. Null: a fault is recorded.
uint8_t* hostOf(Core& core, uint64_t linear, Access access, As as) {
  Tlb& tlb = core.tlbs[as == As::User ? Core::kUserTlb : Core::kSupervisorTlb];
  unsigned index = Tlb::index(linear);
  TlbEntry& entry = access == Access::Read    ? tlb.read[index]
                    : access == Access::Write ? tlb.write[index]
                                              : tlb.execute[index];
  const uint64_t page = linear & kPageMask;
  if (entry.page == page) return entry.host + (linear & 0xfff);

  Translation translation{};
  if (!translate(core, linear, access, as, translation)) return nullptr;
  HostPage host = core.memory.page(translation.physical);
  const uint8_t needed = access == Access::Read ? kReadable : access == Access::Write ? kWritable : kExecutable;
  if (!host.host || !(host.prot & needed)) {
    Fault fault = access == Access::Read ? Fault::Read : access == Access::Write ? Fault::Write : Fault::Execute;
    physicalFault(core, translation.physical, fault, access != Access::Execute && !core.delivery.active);
    return nullptr;
  }
  uint8_t* const byte = host.host + (linear & 0xfff);
  if (translation.large) {
    core.largeFirst = std::min(core.largeFirst, page);
    core.largeLast = std::max(core.largeLast, page);
  }
  // Each kind fills its own entry only: a copy between two pages of the same index needs both.
  bool keep = access != Access::Write || (host.prot & kReadable && !core.blocks.holdsCode(host.host));
  // With SMAP the supervisor's right to a user page changes with AC and with the kind of access.
  if (as != As::User && translation.user && access != Access::Execute && core.state.cr4 & kSMAP) keep = false;
  if (keep) {
    entry = {page, host.host};
    if (core.filledCount < core.filled.size()) core.filled[core.filledCount] = &entry;
    ++core.filledCount;
  }
  return byte;
}

bool spanAs(Core& core, uint64_t linear, unsigned size, Access access, As as, Span& span) {
  unsigned first = std::min<uint64_t>(size, 0x1000 - (linear & 0xfff));
  span.firstBytes = first;
  span.host = hostOf(core, linear, access, as);
  span.host2 = nullptr;
  if (!span.host) return false;
  if (first == size) return true;
  uint64_t second = linear + first;
  bool wide = as == As::Implicit ? core.longMode() : core.code64();
  if (!wide) second &= 0xffffffff;
  return (span.host2 = hostOf(core, second, access, as)) != nullptr;
}

// The linear address of an access, after the checks of its segment.
bool segmented(Core& core, unsigned seg, uint64_t offset, unsigned size, Access access, uint64_t& linear) {
  const Segment& s = core.state.seg[seg];
  const uint8_t error = seg == SS ? vector::SS : vector::GP;
  if (core.code64()) {
    linear = seg >= FS ? s.base + offset : offset;
    return core.canonical(linear) || core.raise(error, 0);  // of its end, only misaligned ones need a look
  }
  bool checkRights = core.protectedMode() && !core.v86();
  if (checkRights) {
    if (!s.present()) return core.raise(error, 0);
    if (access == Access::Write ? !isWritableData(s) : !isReadable(s)) return core.raise(vector::GP, 0);
  }
  if (!withinLimit(s, checkRights, !core.amd(), offset, size)) return core.raise(error, 0);
  linear = (s.base + offset) & 0xffffffff;
  return true;
}

// Sets the DR6 bits of the data breakpoints that the access touches.
void watch(Core& core, uint64_t linear, unsigned size, bool write) {
  constexpr unsigned kLengths[] = {1, 2, 8, 4};
  for (unsigned i = 0; i < 4; ++i) {
    if (!(core.state.dr7 >> i * 2 & 3)) continue;
    unsigned kind = core.state.dr7 >> (16 + i * 4) & 3;
    if (kind != 3 && !(kind == 1 && write)) continue;
    unsigned length = kLengths[core.state.dr7 >> (18 + i * 4) & 3];
    uint64_t start = core.state.dr[i] & ~uint64_t{length - 1};
    if (linear < start + length && start < linear + size) core.pendingDebug |= 1u << i;
  }
}

bool access(Core& core, unsigned seg, uint64_t offset, unsigned size, Access kind, Span& span) {
  uint64_t linear;
  if (!segmented(core, seg, offset, size, kind, linear)) return false;
  const bool endsOutside = core.code64() && !core.canonical(linear + size - 1);
  if (misaligned(core, linear, size) && !(endsOutside && core.amd())) return core.raise(vector::AC, 0);
  if (endsOutside) return core.raise(seg == SS ? vector::SS : vector::GP, 0);
  if (!spanAs(core, linear, size, kind, currentlyAs(core), span)) return false;
  if (core.breakpointsEnabled()) watch(core, linear, size, kind == Access::Write);
  return true;
}

void clear(Tlb& tlb) {
  for (auto* entries : {tlb.read, tlb.write, tlb.execute}) std::fill_n(entries, Tlb::kEntries, TlbEntry{});
}

}  // namespace

void Core::loadSpan(const Span& span, void* to, unsigned size) {
  if (span.host2) {
    loadHost(to, span.host, span.firstBytes);
    loadHost(static_cast<uint8_t*>(to) + span.firstBytes, span.host2, size - span.firstBytes);
    return;
  }
  switch (size) {  // whole values are not torn
    case 1: return storeHost(static_cast<uint8_t*>(to), loadHost<uint8_t>(span.host));
    case 2: return storeHost(static_cast<uint8_t*>(to), loadHost<uint16_t>(span.host));
    case 4: return storeHost(static_cast<uint8_t*>(to), loadHost<uint32_t>(span.host));
    case 8: return storeHost(static_cast<uint8_t*>(to), loadHost<uint64_t>(span.host));
    default: return loadHost(to, span.host, size);
  }
}

void Core::storeSpan(const Span& span, const void* from, unsigned size) {
  const uint8_t* bytes = static_cast<const uint8_t*>(from);
  if (span.host2) {
    storeHost(span.host, bytes, span.firstBytes);
    storeHost(span.host2, bytes + span.firstBytes, size - span.firstBytes);
    wrote(span.host, span.firstBytes);
    wrote(span.host2, size - span.firstBytes);
    return;
  }
  switch (size) {
    case 1: storeHost(span.host, loadHost<uint8_t>(bytes)); break;
    case 2: storeHost(span.host, loadHost<uint16_t>(bytes)); break;
    case 4: storeHost(span.host, loadHost<uint32_t>(bytes)); break;
    case 8: storeHost(span.host, loadHost<uint64_t>(bytes)); break;
    default: storeHost(span.host, bytes, size);
  }
  wrote(span.host, size);
}

bool Core::readSlow(unsigned seg, uint64_t offset, void* to, unsigned size) {
  Span span;
  if (!access(*this, seg, offset, size, Access::Read, span)) return false;
  loadSpan(span, to, size);
  return true;
}

bool Core::writeSlow(unsigned seg, uint64_t offset, const void* from, unsigned size) {
  Span span;
  if (!access(*this, seg, offset, size, Access::Write, span)) return false;
  storeSpan(span, from, size);
  return true;
}

bool Core::spanSlow(unsigned seg, uint64_t offset, unsigned size, Span& span) {
  return access(*this, seg, offset, size, Access::Write, span);
}

bool Core::spanLinear(uint64_t linear, unsigned size, Access access, bool supervisor, Span& span) {
  const Tlb& used = tlbs[supervisor || state.cpl != 3 ? kSupervisorTlb : kUserTlb];
  const TlbEntry& entry = (access == Access::Read ? used.read : used.write)[Tlb::index(linear)];
  if (entry.page == ((linear + size - 1) & kPageMask) && access != Access::Execute) {
    span = {entry.host + (linear & 0xfff), nullptr, size};
    return true;
  }
  if (!longMode()) {
    linear &= 0xffffffff;
  } else if (!canonical(linear) || !canonical(linear + size - 1)) {
    return raise(vector::GP, 0);
  }
  return spanAs(*this, linear, size, access, supervisor ? As::Implicit : currentlyAs(*this), span);
}

bool Core::readLinear(uint64_t linear, void* to, unsigned size, bool supervisor) {
  Span span;
  if (!spanLinear(linear, size, Access::Read, supervisor, span)) return false;
  loadSpan(span, to, size);
  return true;
}

bool Core::writeLinear(uint64_t linear, const void* from, unsigned size, bool supervisor) {
  Span span;
  if (!spanLinear(linear, size, Access::Write, supervisor, span)) return false;
  storeSpan(span, from, size);
  return true;
}

const uint8_t* Core::fetchPageSlow(uint64_t linear) {
  const uint8_t* byte = hostOf(*this, linear, Access::Execute, currentlyAs(*this));
  return byte ? byte - (linear & 0xfff) : nullptr;
}

void Core::flushTlb() {
  if (filledCount <= filled.size()) {
    for (size_t i = 0; i < filledCount; ++i) *filled[i] = {};
  } else {
    clear(tlbs[kSupervisorTlb]);
    clear(tlbs[kUserTlb]);
  }
  filledCount = 0;
  largeFirst = ~uint64_t{0};
  largeLast = 0;
  translationChanged();
}

// Entries do not remember whether they are global: all go, which the architecture allows at any time.
void Core::flushTlbNonGlobal() { flushTlb(); }

void Core::flushTlbPage(uint64_t linear) {
  const uint64_t page = linear & kPageMask;
  // Of a large page all parts have to go, whichever of them the TLB holds.
  constexpr uint64_t kLargest = uint64_t{1} << 30;
  if (largeFirst <= largeLast && page + kLargest > largeFirst && page < largeLast + kLargest) return flushTlb();
  for (Tlb* each : {&tlbs[kSupervisorTlb], &tlbs[kUserTlb]}) {
    for (TlbEntry* entries : {each->read, each->write, each->execute}) {
      TlbEntry& entry = entries[Tlb::index(page)];
      if (entry.page == page) entry = {};
    }
  }
  translationChanged();
}

bool Core::loadPdptes(uint64_t cr0, uint64_t cr3, uint64_t cr4) {
  if (model.vendor == Vendor::Amd) return true;
  if (!(cr0 & kPG) || !(cr4 & kPAE) || longMode()) return true;
  uint64_t table = cr3 & 0xffffffe0, loaded[4];
  HostPage page = memory.page(table);
  if (!page.host || !(page.prot & kReadable)) return physicalFault(*this, table, Fault::Read, false);
  for (unsigned i = 0; i < 4; ++i) {
    loaded[i] = loadHost<uint64_t>(page.host + (table & 0xfff) + i * 8);
    if (loaded[i] & 1 && loaded[i] & pdpteReserved(*this)) return raise(vector::GP, 0);
  }
  std::copy_n(loaded, 4, pdpte);
  return true;
}

}  // namespace nvmm::cpu
