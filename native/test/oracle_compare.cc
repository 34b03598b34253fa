#include "oracle_compare.h"

#include <cstdio>
#include <cstring>

#include "oracle_table.h"

namespace nvmm::oracle {
namespace {

constexpr const char* kGprNames[] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                     "R8",  "R9",  "R10", "R11", "R12", "R13", "R14", "R15"};
constexpr const char* kSegNames[] = {"ES", "CS", "SS", "DS", "FS", "GS"};
constexpr uint16_t kDebug = 1, kBreakpoint = 3, kInvalidOpcode = 6, kGeneralProtection = 13, kPageFault = 14;

// Linux does not tell user mode whether a page behind its own addresses is present.
constexpr uint64_t kUserEnd = 0x7ffffffff000;

// An instruction of several stack accesses makes them in an order of the processor's own, and those below the stack
// pointer before it finds a fault elsewhere: ENTER with 31 levels is the longest.
constexpr uint64_t kStackReach = 0x200, kFrameReach = 64;

// What is left of the RPL of a null selector after a return from the kernel.
uint16_t visible(uint16_t selector) { return selector < 4 ? 0 : selector; }

std::string vectorName(uint16_t vector) {
  constexpr const char* kNames[] = {"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "9",
                                    "#TS", "#NP", "#SS", "#GP", "#PF", "15",  "#MF", "#AC", "#MC", "#XM"};
  if (vector < sizeof kNames / sizeof *kNames) return kNames[vector];
  if (vector < kNoVector) return std::to_string(vector);
  return "no exception (" + std::to_string(vector - kNoVector) + ")";
}

// A fault of an instruction that is too long, or whose end can't be fetched. Of those that do not exist, processors may
// fetch as much as their operands would take.
bool fetchFault(const Case& c, const Outcome& outcome) {
  constexpr uint32_t kFetch = 16;
  if (outcome.rip != c.rip - codeBase(c)) return false;
  if (outcome.vector == kPageFault) return outcome.error & kFetch;
  return outcome.vector == kGeneralProtection && decode(c.code, c.length, c.bits).length > 15;
}

// The address of a byte of Memory.
uint64_t memoryAddress(size_t offset) { return offset < kDataSize ? kData + offset : kStack + offset - kDataSize; }

// Without the bytes from `from` to `to`.
void compareMemory(const Memory& initial, const Outcome& native, const Outcome& guest, uint64_t from, uint64_t to,
                   std::vector<Difference>& differences) {
  const uint8_t* n = (native.memoryChanged ? native.memory : initial).bytes;
  const uint8_t* g = (guest.memoryChanged ? guest.memory : initial).bytes;
  for (size_t i = 0; i < sizeof initial.bytes; i++) {
    if (n[i] == g[i] || memoryAddress(i) - from < to - from) continue;
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
  } kNames[] = {{cpu::kCF, "CF"}, {cpu::kPF, "PF"}, {cpu::kAF, "AF"}, {cpu::kZF, "ZF"}, {cpu::kSF, "SF"}, {cpu::kTF, "TF"},
                {cpu::kIF, "IF"}, {cpu::kDF, "DF"}, {cpu::kOF, "OF"}, {cpu::kNT, "NT"}, {cpu::kRF, "RF"}, {cpu::kAC, "AC"},
                {cpu::kID, "ID"}};
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
  if (native.vector != guest.vector) {
    if (guest.vector == kInvalidOpcode && fetchFault(c, native)) return result;
    d.push_back({"vector", vectorName(native.vector) + " error " + hex(native.error) + " RIP " + hex(native.rip),
                 vectorName(guest.vector) + " error " + hex(guest.error) + " RIP " + hex(guest.rip)});
    return result;
  }
  const bool wide = c.bits == 64 || native.selector[Seg::CS] == kCode64;
  auto number = [&](const char* field, uint64_t n, uint64_t g) {
    if (n != g) d.push_back({field, hex(n), hex(g)});
  };
  const uint64_t mask = wide ? ~uint64_t{0} : 0xffffffff;
  number("RIP", native.rip & mask, guest.rip & mask);
  const bool trap = native.vector == kBreakpoint || native.vector == kDebug;
  const uint64_t stoppedAt = native.rip - (c.rip - codeBase(c));
  const bool faulted = !trap && stoppedAt < c.length;
  const unsigned executed = faulted ? static_cast<unsigned>(stoppedAt) : c.length;
  const Row* row = faulted ? decode(c.code + executed, c.length - executed, c.bits).row : nullptr;
  const uint32_t traits = row ? row->traits : 0;

  const bool hidden = native.vector == kPageFault && native.cr2 >= kUserEnd;
  number("error code", native.error | hidden, guest.error | hidden);
  const bool near = ((native.cr2 - guest.cr2 + kFrameReach) & mask) < 2 * kFrameReach;
  if (native.vector == kPageFault && !(near && traits & kSeveral))
    number("CR2", native.cr2 & mask, guest.cr2 & mask);
  for (int i = 0; i < 6; i++) number(kSegNames[i], visible(native.selector[i]), visible(guest.selector[i]));

  const Undefined undefined = undefinedAfter(c, executed);
  if (uint64_t different = (native.rflags ^ guest.rflags) & ~undefined.flags)
    d.push_back({"flags", flagNames(native.rflags & different), flagNames(guest.rflags & different)});
  result.undefinedFlags = (native.rflags ^ guest.rflags) & undefined.flags;

  const size_t before = d.size();
  if (!(traits & kPartial))
    for (int i = 0; i < (wide ? 16 : 8); i++) number(kGprNames[i], native.gpr[i] & mask, guest.gpr[i] & mask);
  if (native.memoryChanged || guest.memoryChanged) {
    uint64_t top = native.gpr[Gpr::RSP];
    if (!wide) top = native.selector[Seg::SS] == kStack16 ? (top & 0xffff) + kStackBase16 : top & mask;
    compareMemory(initial, native, guest, top - kStackReach, trap ? top - kStackReach : top, d);
  }
  if (undefined.result && d.size() != before) {
    d.resize(before);
    result.undefinedResult = true;
  }
  return result;
}

}  // namespace nvmm::oracle
