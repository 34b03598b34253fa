#include "decoded.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "cpu/core.h"
#include "cpu/decode.h"
#include "cpu/opcodes.h"

namespace nvmm::mock {
namespace {

class NoMemory : public cpu::PhysicalMemory {
 public:
  cpu::HostPage page(uint64_t) override { return {nullptr, 0}; }
};

bool executes(const cpu::Opcode& row, cpu::Handler handler) {
  if (!row.execute.variants) return row.execute.handler == handler;
  const auto& handlers = row.execute.variants->handler;
  if (row.form.simd) {
    const auto& forms = handlers[static_cast<unsigned>(row.prefix)];
    return std::find(std::begin(forms), std::end(forms), handler) != std::end(forms);
  }
  for (const auto& forms : handlers) {
    if (std::find(std::begin(forms), std::end(forms), handler) != std::end(forms)) return true;
  }
  return false;
}

// The row of the table that the decoder chose.
const cpu::Opcode* rowOf(const cpu::Insn& insn) {
  const cpu::OpcodeRange rows = cpu::opcodes();
  const auto* row = std::find_if(rows.first, rows.last, [&](const cpu::Opcode& candidate) {
    const bool otherForm = insn.memory ? candidate.form.registerOnly : candidate.form.memoryOnly;
    return candidate.opcode == insn.opcode && !otherForm && executes(candidate, insn.handler);
  });
  return row == rows.last ? nullptr : row;
}

Napi::Value describe(Napi::Env env, const cpu::Insn& insn) {
  const cpu::Opcode* row = rowOf(insn);
  const auto object = Napi::Object::New(env);
  const auto set = [&](const char* name, uint8_t value) { object.Set(name, static_cast<double>(value)); };
  if (row) object.Set("name", row->mnemonic);
  object.Set("operands", row ? row->operands : "");
  object.Set("memory", insn.memory);
  object.Set("disp", Napi::BigInt::New(env, insn.disp));
  object.Set("imm", Napi::BigInt::New(env, insn.imm));
  set("length", insn.length);
  set("reg", insn.reg);
  set("base", insn.base);
  set("index", insn.index);
  set("scale", insn.scale);
  set("segment", insn.segment);
  set("operandSize", insn.operandSize);
  set("addressSize", insn.addressSize);
  set("repeat", insn.repeat);
  return object;
}

}  // namespace

Napi::Value decode(const Napi::CallbackInfo& info) {
  const bool intel = info[0].As<Napi::String>().Utf8Value() == "intel";
  const unsigned codeSize = info[1].As<Napi::Number>().Uint32Value();
  const auto bytes = info[2].As<Napi::Uint8Array>();

  NoMemory memory;
  cpu::Core core(memory, cpu::model(intel ? cpu::Vendor::Intel : cpu::Vendor::Amd));
  core.mode = static_cast<uint8_t>(cpu::kModeProtected | (codeSize == 8 ? 2 : codeSize == 4 ? 1 : 0));
  core.codeLimit = 0xffffffff;
  core.ripMask = ~uint64_t{0};
  core.state.rip = 0;
  // At the end of a page: what is missing can't be had.
  std::array<uint8_t, 0x1000> page{};
  const size_t begin = page.size() - std::min(bytes.ByteLength(), page.size());
  std::memcpy(page.data() + begin, bytes.Data(), page.size() - begin);
  cpu::CodeBytes code(core, begin, page.data() + begin);
  cpu::Insn insn;
  bool ends;
  const bool whole = cpu::decode(core, code, 0, false, insn, ends);
  return whole ? describe(info.Env(), insn) : info.Env().Null();
}

}  // namespace nvmm::mock
