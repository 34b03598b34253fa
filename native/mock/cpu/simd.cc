#include "simd.h"

namespace nvmm::cpu {

void resetTop(Core& core) {
  X87 x(core, nullptr);
  if (x.top()) x.rotate(-static_cast<int>(x.top()));
}

void enterMmx(Core& core) {
  resetTop(core);
  core.state.fpu.ftw = 0xff;
}

}  // namespace nvmm::cpu
