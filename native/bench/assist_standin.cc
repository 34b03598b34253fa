// Calibration of `npm run bench:assist`: work of the kind that the C library does for an instruction which accessed a
// device, written for this purpose. A decoder goes from state to state through function pointers, byte by byte; tables
// are searched from their beginning; page tables are walked through a list of memory areas; the operand's size selects
// a mask; a callback moves the data. Prints nanoseconds of one call, the median of ROUNDS: assist_standin ROUNDS CALLS
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

namespace {

struct Area {
  uint64_t gpa, size;
  uint8_t* host;
  int prot;
};

struct Machine {
  std::vector<Area> areas;
};

struct State {
  uint64_t gprs[18];
  uint64_t cr0, cr3, cr4, efer;
};

struct Access {
  uint64_t gpa;
  bool write;
  size_t size;
  uint8_t* data;
};

struct Vcpu {
  State* state;
  void (*callback)(Access*);
  uint64_t exitGpa;
  uint8_t bytes[15];
};

// ---- Addresses ----

uint8_t* hostOf(const Machine& machine, uint64_t gpa, int* prot) {
  for (const Area& area : machine.areas) {
    if (gpa >= area.gpa && gpa < area.gpa + area.size) {
      *prot = area.prot;
      return area.host + (gpa - area.gpa);
    }
  }
  return nullptr;
}

bool translate(const Machine& machine, const State& state, uint64_t gva, uint64_t* gpa, int* prot) {
  *prot = 15;
  uint64_t table = state.cr3 & 0xf'ffff'ffff'f000;
  if (static_cast<int64_t>(gva << 16) >> 16 != static_cast<int64_t>(gva)) return false;
  for (int level = 3; level >= 0; level--) {
    int ignored;
    const uint8_t* host = hostOf(machine, table, &ignored);
    if (!host) return false;
    const int shift = 12 + 9 * level;
    uint64_t entry;
    memcpy(&entry, host + 8 * (gva >> shift & 511), 8);
    if (!(entry & 1)) return false;
    if (!(entry & 4)) *prot &= ~8;
    if (!(entry & 2)) *prot &= ~2;
    if (entry >> 63) *prot &= ~4;
    table = entry & 0xf'ffff'ffff'f000;
    if (level > 0 && level < 3 && entry & 0x80) {
      const uint64_t inside = (uint64_t{1} << shift) - 1;
      *gpa = (table & ~inside) | (gva & inside);
      return true;
    }
  }
  *gpa = table | (gva & 0xfff);
  return true;
}

// ---- The decoder ----

struct Opcode {
  uint8_t byte;
  bool isByte, toRegister;
};
constexpr Opcode kOpcodes[] = {
    {0x08, true, false},  {0x09, false, false}, {0x0a, true, true},   {0x0b, false, true},  {0x20, true, false},
    {0x21, false, false}, {0x22, true, true},   {0x23, false, true},  {0x28, true, false},  {0x29, false, false},
    {0x2a, true, true},   {0x2b, false, true},  {0x30, true, false},  {0x31, false, false}, {0x32, true, true},
    {0x33, false, true},  {0x86, true, false},  {0x87, false, false}, {0x88, true, false},  {0x89, false, false},
    {0x8a, true, true},   {0x8b, false, true},
};
constexpr uint8_t kPrefixes[] = {0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65};

struct Decoding;
using Step = bool (*)(Decoding&);
struct Decoding {
  const uint8_t* bytes;
  size_t length, at;
  Step next;
  const Opcode* opcode;
  bool operandPrefix, addressPrefix, wide;
  uint8_t rex, modrm, sib;
  size_t operandSize, addressSize, dispSize;
  int reg, base, index;
  int64_t disp;
};

bool peek(Decoding& d, uint8_t* byte, size_t count) {
  if (d.at + count > d.length) return false;
  memcpy(byte, d.bytes + d.at, count);
  return true;
}

bool displacement(Decoding& d) {
  uint8_t bytes[8] = {};
  if (!peek(d, bytes, d.dispSize)) return false;
  memcpy(&d.disp, bytes, sizeof d.disp);
  d.at += d.dispSize;
  d.next = nullptr;
  return true;
}

bool scaled(Decoding& d) {
  if (!peek(d, &d.sib, 1)) return false;
  d.at++;
  d.base = (d.sib & 7) | (d.rex << 3 & 8);
  d.index = (d.sib >> 3 & 7) | (d.rex << 2 & 8);
  d.next = d.dispSize ? displacement : nullptr;
  return true;
}

bool modrm(Decoding& d) {
  if (!peek(d, &d.modrm, 1)) return false;
  d.at++;
  const unsigned mod = d.modrm >> 6;
  if (mod == 3) return false;
  d.reg = (d.modrm >> 3 & 7) | (d.rex << 1 & 8);
  d.base = (d.modrm & 7) | (d.rex << 3 & 8);
  d.dispSize = mod == 1 ? 1 : mod == 2 || (d.modrm & 7) == 5 ? 4 : 0;
  d.next = (d.modrm & 7) == 4 ? scaled : d.dispSize ? displacement : nullptr;
  return true;
}

bool opcode(Decoding& d) {
  uint8_t byte;
  if (!peek(d, &byte, 1)) return false;
  d.at++;
  for (const Opcode& candidate : kOpcodes) {
    if (candidate.byte == byte) {
      d.opcode = &candidate;
      d.operandSize = candidate.isByte ? 1 : d.wide ? 8 : d.operandPrefix ? 2 : 4;
      d.addressSize = d.addressPrefix ? 4 : 8;
      d.next = modrm;
      return true;
    }
  }
  return false;
}

bool rex(Decoding& d) {
  uint8_t byte;
  if (!peek(d, &byte, 1)) return false;
  if (byte >= 0x40 && byte <= 0x4f) {
    d.rex = byte;
    d.wide = byte & 8;
    d.at++;
  }
  d.next = opcode;
  return true;
}

bool prefixes(Decoding& d) {
  uint8_t byte;
  if (!peek(d, &byte, 1)) return false;
  for (const uint8_t prefix : kPrefixes) {
    if (prefix != byte) continue;
    d.operandPrefix |= byte == 0x66;
    d.addressPrefix |= byte == 0x67;
    d.at++;
    return true;
  }
  d.next = rex;
  return true;
}

// ---- One instruction ----

uint64_t maskOf(size_t size) {
  switch (size) {
    case 1: return 0xff;
    case 2: return 0xffff;
    case 4: return 0xffff'ffff;
    default: return ~uint64_t{0};
  }
}

bool assist(const Machine& machine, Vcpu& vcpu) {
  State& state = *vcpu.state;
  uint64_t gpa;
  int prot;
  if (!translate(machine, state, state.gprs[16], &gpa, &prot)) return false;
  const uint8_t* code = hostOf(machine, gpa, &prot);
  if (!code) return false;
  memcpy(vcpu.bytes, code, sizeof vcpu.bytes);
  Decoding d;
  memset(&d, 0, sizeof d);
  d.bytes = vcpu.bytes;
  d.length = sizeof vcpu.bytes;
  d.next = prefixes;
  while (d.next) {
    if (!d.next(d)) return false;
  }
  uint64_t value = 0;
  Access access = {vcpu.exitGpa, !d.opcode->toRegister, d.operandSize, reinterpret_cast<uint8_t*>(&value)};
  const uint64_t mask = maskOf(d.operandSize);
  uint64_t& reg = state.gprs[d.reg];
  if (access.write) value = reg & mask;
  vcpu.callback(&access);
  if (!access.write) reg = d.operandSize == 4 ? value & mask : (reg & ~mask) | (value & mask);
  state.gprs[16] += d.at;
  return true;
}

uint8_t device[8];

void exchange(Access* access) {
  if (access->write)
    memcpy(device, access->data, access->size);
  else
    memcpy(access->data, device, access->size);
}

double now() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? atoi(argv[1]) : 401;
  const int calls = argc > 2 ? atoi(argv[2]) : 2000;

  // The guest that the benchmark has: code in a page of 2 MiB, found behind three other areas.
  constexpr uint64_t kRam = 0x10'0000, kTables = 0x10'0000, kText = 0x100'0000, kTextAt = 0xffff'ffff'8100'0000;
  std::vector<uint8_t> low(0xa'0000), rom(0x2'0000), window(0x10'0000), ram(0x1f0'0000);
  Machine machine;
  machine.areas = {{0xe000'0000, window.size(), window.data(), 7},
                   {0xfffe'0000, rom.size(), rom.data(), 5},
                   {0, low.size(), low.data(), 7},
                   {kRam, ram.size(), ram.data(), 7}};
  auto* tables = reinterpret_cast<uint64_t*>(ram.data() + kTables - kRam);
  tables[511] = (kTables + 0x1000) | 0x63;
  tables[512 + 510] = (kTables + 0x2000) | 0x63;
  tables[1024 + 8] = kText | 0xe3;

  State state = {};
  state.cr3 = kTables;
  Vcpu vcpu = {&state, exchange, 0xfee0'0000, {}};
  const uint8_t code[][2] = {{0x8b, 0x03}, {0x89, 0x03}};
  std::vector<double> times;
  for (int round = -10; round < rounds; round++) {
    memcpy(ram.data() + kText - kRam, code[round & 1], 2);
    const double begin = now();
    for (int i = 0; i < calls; i++) {
      state.gprs[16] = kTextAt;
      if (!assist(machine, vcpu)) return 1;
    }
    if (round >= 0) times.push_back((now() - begin) / calls);
  }
  std::sort(times.begin(), times.end());
  printf("%.2f\n", times[times.size() / 2]);
  return 0;
}
