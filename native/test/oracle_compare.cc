#include "oracle_compare.h"

#include <cstdio>
#include <cstring>

#include "oracle_guest.h"
#include "oracle_table.h"

namespace nvmm::oracle {
namespace {

constexpr const char* kGprNames[] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                     "R8",  "R9",  "R10", "R11", "R12", "R13", "R14", "R15"};
constexpr const char* kSegNames[] = {"ES", "CS", "SS", "DS", "FS", "GS"};
constexpr uint16_t kDebug = 1, kBreakpoint = 3, kInvalidOpcode = 6, kStackFault = 12, kGeneralProtection = 13,
                   kPageFault = 14, kAlignmentCheck = 17;

// Linux does not tell user mode whether a page behind its own addresses is present.
constexpr uint64_t kUserEnd = 0x7ffffffff000;

// An address sanitizer maps its shadow into the host's process, where an access may then succeed.
#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
constexpr bool kSanitized = __has_feature(address_sanitizer);
#else
constexpr bool kSanitized = false;
#endif
constexpr uint64_t kForeign = kSanitized ? uint64_t{1} << 32 : kUserEnd;

// An instruction of several accesses (kSeveral) makes them in an order of the processor's own, and so finds this or
// that fault first; what it has written by then stays.
constexpr uint64_t kSeveralReach = 0x200;

// What is left of the RPL of a null selector after a return from the kernel.
uint16_t visible(uint16_t selector) { return selector < 4 ? 0 : selector; }

std::string vectorName(uint16_t vector) {
  constexpr const char* kNames[] = {"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "9",
                                    "#TS", "#NP", "#SS", "#GP", "#PF", "15",  "#MF", "#AC", "#MC", "#XM"};
  if (vector < sizeof kNames / sizeof *kNames) return kNames[vector];
  if (vector < kNoVector) return std::to_string(vector);
  return "no exception (" + std::to_string(vector - kNoVector) + ")";
}

// Of an instruction that does not exist, a processor may fetch as much as its operands would take: it finds a fault
// there, or that it is too long.
bool fetchFault(const Outcome& outcome, const Decoded& d) {
  constexpr uint32_t kFetch = 16;
  constexpr unsigned kMaxLength = 15, kMaxOperands = 10;  // ModRM, SIB, displacement, immediate
  if (outcome.vector == kPageFault) return outcome.error & kFetch;
  return outcome.vector == kGeneralProtection && d.length + kMaxOperands > kMaxLength;
}

bool memoryFault(uint16_t vector) {
  return vector == kStackFault || vector == kGeneralProtection || vector == kPageFault || vector == kAlignmentCheck;
}

// The address of a byte of Memory.
uint64_t memoryAddress(size_t offset) { return offset < kDataSize ? kData + offset : kStack + offset - kDataSize; }

// Distances that approximations may have: of x87 results in units in the last place, of RCP and RSQRT in those of a
// binary32.
constexpr unsigned kUlps = 1;
constexpr uint64_t kC1 = 1 << 9, kUe = 1 << 4, kEs = 1 << 7, kB = 1 << 15;
constexpr uint64_t kEstimateUlps = 2 * 3 << 11;  // of both

bool closeExtended(const cpu::FpuImage& a, const cpu::FpuImage& b, unsigned i) {
  if ((a.st[i].signExponent ^ b.st[i].signExponent) & 0x8000) return false;
  auto number = [i](const cpu::FpuImage& f) {
    return static_cast<unsigned __int128>(f.st[i].signExponent & 0x7fff) << 63 |
           (f.st[i].significand & ~(uint64_t{1} << 63));
  };
  auto close = [](auto x, auto y) { return (x > y ? x - y : y - x) <= kUlps; };
  // On either side of the smallest normal number, one of them is tiny: the unmasked exception gives it a larger
  // exponent.
  constexpr auto kUnderflow = static_cast<unsigned __int128>(0x6000) << 63;
  const auto x = number(a), y = number(b);
  return close(x, y) || (!(a.fcw & kUe) && (close(x, y + kUnderflow) || close(x + kUnderflow, y)));
}

bool closeEstimate(uint64_t a, uint64_t b) {
  for (unsigned shift : {0u, 32u}) {
    const auto x = static_cast<uint32_t>(a >> shift), y = static_cast<uint32_t>(b >> shift);
    if ((x > y ? x - y : y - x) > kEstimateUlps) return false;
  }
  return true;
}

// Of several NaNs, DPPS and DPPD give one whose choice is the processor's: it follows the order of the additions.
bool sameButNans(uint64_t a, uint64_t b) {
  auto nan = [](uint32_t x) { return (x & 0x7fffffff) > 0x7f800000; };
  auto nan64 = [](uint64_t x) { return (x << 1) > uint64_t{0x7ff} << 53; };
  if (a == b || (nan64(a) && nan64(b))) return true;
  for (unsigned shift : {0u, 32u}) {
    const auto x = static_cast<uint32_t>(a >> shift), y = static_cast<uint32_t>(b >> shift);
    if (x != y && !(nan(x) && nan(y))) return false;
  }
  return true;
}

// The FXSAVE image. Newer processors keep FOP, FIP and FDP for unmasked exceptions only.
void compareFpu(const cpu::FpuImage& native, const cpu::FpuImage& guest, uint32_t traits, uint64_t undefinedFsw,
                std::vector<Difference>& differences) {
  auto number = [&](const std::string& field, uint64_t n, uint64_t g) {
    if (n != g) differences.push_back({field, hex(n), hex(g)});
  };
  number("FCW", native.fcw, guest.fcw);
  if (traits & kApproximate) {
    undefinedFsw |= kC1 | kUe;                          // rounded up, and tiny before that
    if (!(native.fcw & kUe)) undefinedFsw |= kEs | kB;  // which follow UE then
  }
  number("FSW", native.fsw & ~undefinedFsw, guest.fsw & ~undefinedFsw);
  number("FTW", native.ftw, guest.ftw);
  if (native.fsw & kEs && guest.fsw & kEs) {
    number("FOP", native.fop, guest.fop);
    number("FIP", native.fip, guest.fip);
    number("FDP", native.fdp, guest.fdp);
  }
  number("MXCSR", native.mxcsr, guest.mxcsr);
  for (unsigned i = 0; i < 8; i++) {
    if (traits & kApproximate && closeExtended(native, guest, i)) continue;
    if (native.st[i].significand == guest.st[i].significand && native.st[i].signExponent == guest.st[i].signExponent)
      continue;
    differences.push_back({"ST" + std::to_string(i),
                           hex(native.st[i].signExponent) + ":" + hex(native.st[i].significand),
                           hex(guest.st[i].signExponent) + ":" + hex(guest.st[i].significand)});
  }
  for (unsigned i = 0; i < 16; i++) {
    const uint64_t *n = native.xmm[i].lane, *g = guest.xmm[i].lane;
    if (n[0] == g[0] && n[1] == g[1]) continue;
    if (traits & kEstimate && closeEstimate(n[0], g[0]) && closeEstimate(n[1], g[1])) continue;
    if (traits & kSums && sameButNans(n[0], g[0]) && sameButNans(n[1], g[1])) continue;
    differences.push_back({"XMM" + std::to_string(i), hex(n[1]) + ":" + hex(n[0]), hex(g[1]) + ":" + hex(g[0])});
  }
}

// F2XM1 of more than 1, and FYL2XP1 of more than about 0.29, have no defined result.
bool outOfDomain(const Case& c, unsigned executed) {
  if (executed < 2 || c.code[executed - 2] != 0xd9) return false;
  const unsigned exponent = c.fpu.st[0].signExponent & 0x7fff;
  return (c.code[executed - 1] == 0xf0 && exponent >= 0x3fff) || (c.code[executed - 1] == 0xf9 && exponent >= 0x3ffd);
}

// Whether the instruction at `at` is INT1, perhaps behind prefixes.
bool isInt1(const Case& c, unsigned at) {
  const Decoded d = decode(c.code + at, c.length - at, c.bits);
  return d.row && d.row->opcode == 0xf1;
}

// Undocumented on AMD's processors, whose manual reserves these prefixes: F2 and F3 change the condition of LOOPcc, a
// LOCK with an instruction that has no lockable operand may read the operand before its #UD, and with a MOV of CR0 it
// means CR8.
bool unpredictableOnAmd(const Case& c, unsigned executed, bool faulted) {
  for (unsigned at = 0; at < executed || (faulted && at == executed);) {
    const Decoded d = decode(c.code + at, c.length - at, c.bits);
    if (!d.row) return false;
    bool repeat = false, lock = false;
    for (const uint8_t* p = c.code + at; p < c.code + c.length && p < c.code + at + 14; p++) {
      if (*p == 0xf2 || *p == 0xf3)
        repeat = true;
      else if (*p == 0xf0)
        lock = true;
      else if (*p != 0x66 && *p != 0x67 && *p != 0x26 && *p != 0x2e && *p != 0x36 && *p != 0x3e && *p != 0x64 &&
               *p != 0x65 && (c.bits != 64 || (*p & 0xf0) != 0x40))
        break;
    }
    if (repeat && d.row->opcode == 0xe0) return true;
    if (lock && !(d.row->traits & kLockable)) return true;
    at += d.length;
    if (d.length == 0) break;
  }
  return false;
}

// Linux takes a page fault above 4 GiB in 32-bit code for an erratum of AMD's K8, and executes the instruction again,
// for ever: a far CALL to 64-bit code pushes there if its stack begins at 0.
bool repeatedByLinux(const Outcome& guest) {
  return guest.vector == kPageFault && guest.cr2 >> 32 && guest.selector[Seg::CS] != kCode64;
}

void compareMemory(const Memory& initial, const Outcome& native, const Outcome& guest,
                   std::vector<Difference>& differences) {
  const uint8_t* n = (native.memoryChanged ? native.memory : initial).bytes;
  const uint8_t* g = (guest.memoryChanged ? guest.memory : initial).bytes;
  for (size_t i = 0; i < sizeof initial.bytes; i++) {
    if (n[i] == g[i]) continue;
    std::string native16, guest16;
    for (size_t j = i; j < i + 16 && j < sizeof initial.bytes; j++) {
      char text[4];
      std::snprintf(text, sizeof text, "%02x", n[j]);
      native16 += text;
      std::snprintf(text, sizeof text, "%02x", g[j]);
      guest16 += text;
    }
    differences.push_back({"memory at " + hex(memoryAddress(i)), native16, guest16});
    return;
  }
}

}  // namespace

std::string hex(uint64_t value) {
  char text[20];
  std::snprintf(text, sizeof text, "%llx", static_cast<unsigned long long>(value));
  return text;
}

std::string flagNames(uint64_t rflags) {
  constexpr struct {
    uint64_t bit;
    const char* name;
  } kNames[] = {{cpu::kCF, "CF"}, {cpu::kPF, "PF"}, {cpu::kAF, "AF"}, {cpu::kZF, "ZF"}, {cpu::kSF, "SF"},
                {cpu::kTF, "TF"}, {cpu::kIF, "IF"}, {cpu::kDF, "DF"}, {cpu::kOF, "OF"}, {cpu::kNT, "NT"},
                {cpu::kRF, "RF"}, {cpu::kAC, "AC"}, {cpu::kID, "ID"}};
  std::string text;
  for (const auto& n : kNames)
    if (rflags & n.bit) {
      if (!text.empty()) text += ' ';
      text += n.name;
    }
  return text;
}

Comparison compare(const Case& c, const Memory& initial, const Outcome& native, const Outcome& guest) {
  Comparison result;
  auto& d = result.differences;
  if (native.vector == kNoVector) {
    constexpr uint16_t kEndless = kNoVector + static_cast<uint16_t>(cpu::ExitKind::Budget);
    if (guest.vector != kEndless && !repeatedByLinux(guest))
      d.push_back({"vector", "none: hangs, or dies", vectorName(guest.vector)});
    return result;
  }
  if (guest.vector == kPageFault && guest.cr2 >= kForeign && guest.cr2 < kUserEnd) return result;
  const bool trap = native.vector == kBreakpoint || native.vector == kDebug;
  const uint64_t stoppedAt = native.rip - (c.rip - codeBase(c));
  const bool faulted = !trap && stoppedAt < c.length;
  const unsigned executed = faulted        ? static_cast<unsigned>(stoppedAt)
                            : c.singleStep ? decode(c.code, c.length, c.bits).length
                                           : c.length;
  const Decoded at = faulted ? decode(c.code + executed, c.length - executed, c.bits) : Decoded{};
  const uint32_t traits = at.row ? at.row->traits : 0;

  const bool amd = hostModel().vendor == cpu::Vendor::Amd;
  // What an undefined result was then used for, an address perhaps, cannot be compared.
  const Undefined undefined = undefinedAfter(c, executed);
  if (undefined.result && decode(c.code, c.length, c.bits).length < c.length) return result;
  if (amd && unpredictableOnAmd(c, executed, faulted)) return result;

  if (native.vector != guest.vector) {
    const bool same = native.rip == guest.rip;
    if (same && guest.vector == kInvalidOpcode && fetchFault(native, at)) return result;
    if (same && native.vector == kInvalidOpcode && fetchFault(guest, at)) return result;
    if (same && traits & (kSeveral | kTwoReads) && memoryFault(native.vector) && memoryFault(guest.vector))
      return result;
    d.push_back({"vector", vectorName(native.vector) + " error " + hex(native.error) + " RIP " + hex(native.rip),
                 vectorName(guest.vector) + " error " + hex(guest.error) + " RIP " + hex(guest.rip)});
    return result;
  }
  const bool wide = native.selector[Seg::CS] == kCode64;
  const uint64_t mask = wide ? ~uint64_t{0} : 0xffffffff;
  auto number = [&](const char* field, uint64_t n, uint64_t g) {
    if (n != g) d.push_back({field, hex(n), hex(g)});
  };
  // Hypervisors on AMD's processors intercept INT1, and may give the #DB back with the RIP of the INT1 itself.
  const bool int1 =
      amd && native.vector == kDebug && stoppedAt < c.length && isInt1(c, static_cast<unsigned>(stoppedAt));
  if (!int1) number("RIP", native.rip & mask, guest.rip & mask);
  const uint64_t wrap = at.addressSize == 2 ? 0xffff : 0xffffffff;
  const uint64_t distance = (native.cr2 - guest.cr2 + kSeveralReach) & wrap;
  const bool several = traits & kTwoReads || (traits & kSeveral && distance < 2 * kSeveralReach);
  if (native.vector != kPageFault) {
    number("error code", native.error, guest.error);
  } else if (!several) {
    const bool hidden = native.cr2 >= kUserEnd;
    number("error code", native.error | hidden, guest.error | hidden);
    number("CR2", native.cr2 & mask, guest.cr2 & mask);
  }
  for (int i = 0; i < 6; i++) number(kSegNames[i], visible(native.selector[i]), visible(guest.selector[i]));

  if (uint64_t different = (native.rflags ^ guest.rflags) & ~undefined.flags)
    d.push_back({"flags", flagNames(native.rflags & different), flagNames(guest.rflags & different)});
  result.undefinedFlags = (native.rflags ^ guest.rflags) & undefined.flags;

  const size_t before = d.size();
  if (!(traits & kPartial)) {
    if (!outOfDomain(c, executed)) compareFpu(native.fpu, guest.fpu, undefined.traits, undefined.flags >> kFswShift, d);
    for (int i = 0; i < (wide ? 16 : 8); i++) {
      // How much of a stack pointer of 16 bits a return to 64-bit code widens is not told.
      const uint64_t seen = i == Gpr::RSP && wide && c.bits == 16 ? 0xffff : mask;
      number(kGprNames[i], native.gpr[i] & seen, guest.gpr[i] & seen);
    }
  }
  if ((native.memoryChanged || guest.memoryChanged) && !(traits & kSeveral)) compareMemory(initial, native, guest, d);
  if (undefined.result && d.size() != before) {
    d.resize(before);
    result.undefinedResult = true;
  }
  return result;
}

}  // namespace nvmm::oracle
