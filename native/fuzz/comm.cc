// The comm page rewritten by another thread while its VCPU runs, and while requests read it: the driver must take
// whatever it finds there, however often it changes.
#include <atomic>
#include <thread>

#include "driver_session.h"

namespace nvmm::fuzz {
namespace {

struct Write {
  uint8_t word;  // of the page
  uint64_t value;
};

// Over and over, byte by byte as a program without atomics may.
void rewrite(uint8_t* page, const std::vector<Write>& writes, const std::atomic<bool>& done) {
  while (!done.load(std::memory_order_relaxed)) {
    for (const auto& [word, value] : writes) {
      auto* at = reinterpret_cast<volatile uint64_t*>(page + 8 * word);
      *at = value;
      *at = ~value;
    }
  }
}

// Requests to the VCPU, each as often as it takes to meet the other thread.
void use(Session& session, Input& in, int fd) {
  constexpr uint32_t kRequests[] = {NVMM_IOC_VCPU_RUN, NVMM_IOC_VCPU_RUN, NVMM_IOC_VCPU_SETSTATE,
                                    NVMM_IOC_VCPU_GETSTATE, NVMM_IOC_VCPU_INJECT};
  for (unsigned i = 0; i < 8; i++) {
    const uint32_t request = kRequests[in.below(5)];
    for (unsigned repeat = 1 + in.below(32); repeat > 0; repeat--) {
      nvmm_ioc_vcpu_run argument = {};  // the others' arguments are its beginning
      session.request(fd, request, &argument);
    }
  }
}

}  // namespace
}  // namespace nvmm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace nvmm::fuzz;
  Input in(data, size);
  Session session(in);
  session.prepare();
  if (session.pages().empty()) return 0;
  auto* page = static_cast<uint8_t*>(session.pages().front());
  std::vector<Write> writes;
  for (unsigned i = 1 + in.below(8); i > 0; i--) {
    const auto word = static_cast<uint8_t>(in.below(160));
    writes.push_back({word, in.take<uint64_t>()});
  }
  std::atomic<bool> done{false};
  std::thread writer(rewrite, page, std::cref(writes), std::cref(done));
  use(session, in, session.firstFile());
  done = true;
  writer.join();
  return 0;
}
