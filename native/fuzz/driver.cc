// Sequences of requests to the driver, with arguments that fit and arguments that don't, through several descriptors;
// between them the program rewrites its memory and the comm pages, guests run, faults are ordered.
#include "driver_session.h"

namespace nvmm::fuzz {
namespace {

void configure(Session& session, Input& in) {
  nvmm_vcpu_conf_cpuid conf = {};
  in.take(&conf, sizeof conf);
  if (in.below(4)) conf.bits &= 3;
  const uint64_t op = in.below(8) ? NVMM_VCPU_CONF_CPUID + in.below(2) : in.take<uint64_t>();
  void* const where = in.below(8) ? &conf : wildPointer(in);
  session.request(NVMM_IOC_VCPU_CONFIGURE, nvmm_ioc_vcpu_configure{session.machine(), session.vcpu(), op, where});
}

void control(Session& session, Input& in) {
  nvmm_ctl_mach_info info = {};
  info.machid = session.machine();
  const uint64_t size = in.below(8) ? sizeof info : in.take<uint64_t>();
  void* const where = in.below(8) ? &info : wildPointer(in);
  session.request(NVMM_IOC_CTL, nvmm_ioc_ctl{static_cast<int32_t>(in.below(2)), where, size});
}

void order(Session& session, Input& in) {
  mock::Fault fault;
  fault.kind = static_cast<mock::Fault::Kind>(in.below(4));
  fault.error = netbsd::kIO;
  fault.exit.reason = in.below(2) ? in.below(3) : in.take<uint64_t>();
  session.device().plan(in.below(21), 1 + in.below(8), fault);
}

void step(Session& session, Input& in) {
  switch (in.below(24)) {
    case 0: session.request(NVMM_IOC_CAPABILITY, nvmm_ioc_capability{}); return;
    case 1: session.request(NVMM_IOC_MACHINE_CREATE, nvmm_ioc_machine_create{}); return;
    case 2: session.request(NVMM_IOC_MACHINE_DESTROY, nvmm_ioc_machine_destroy{session.machine()}); return;
    case 3:
      session.request(NVMM_IOC_MACHINE_CONFIGURE,
                      nvmm_ioc_machine_configure{session.machine(), in.take<uint8_t>(), wildPointer(in)});
      return;
    case 4: session.request(NVMM_IOC_VCPU_CREATE, nvmm_ioc_vcpu_create{session.machine(), session.vcpu()}); return;
    case 5: session.request(NVMM_IOC_VCPU_DESTROY, nvmm_ioc_vcpu_destroy{session.machine(), session.vcpu()}); return;
    case 6: configure(session, in); return;
    case 7: session.request(NVMM_IOC_VCPU_SETSTATE, nvmm_ioc_vcpu_setstate{session.machine(), session.vcpu()}); return;
    case 8: session.request(NVMM_IOC_VCPU_GETSTATE, nvmm_ioc_vcpu_getstate{session.machine(), session.vcpu()}); return;
    case 9: session.request(NVMM_IOC_VCPU_INJECT, nvmm_ioc_vcpu_inject{session.machine(), session.vcpu()}); return;
    case 10:
      session.request(NVMM_IOC_GPA_MAP,
                      nvmm_ioc_gpa_map{session.machine(), session.anyHva(), session.gpa(), session.size(),
                                       static_cast<int8_t>(in.take<uint8_t>() & 0x87)});
      return;
    case 11:
      session.request(NVMM_IOC_GPA_UNMAP, nvmm_ioc_gpa_unmap{session.machine(), session.gpa(), session.size()});
      return;
    case 12: session.mapHva(); return;
    case 13: session.unmapHva(); return;
    case 14: control(session, in); return;
    case 15: session.mapComm(session.file(), commOffset(session.machine(), session.vcpu())); return;
    case 16:
    case 17: session.writeComm(); return;
    case 18: session.writeMemory(); return;
    case 19: session.reopen(); return;
    case 20: order(session, in); return;
    case 21:
      // Nothing that the driver would copy: it never gets a request whose size is not that of its argument.
      session.request(in.take<uint32_t>() & ~(kIocParmMask << kIocParmShift), uint64_t{});
      return;
    case 22:
      if (in.below(8) == 0) session.resetDevice();
      session.device().counters();
      return;
    default: session.request(NVMM_IOC_VCPU_RUN, nvmm_ioc_vcpu_run{session.machine(), session.vcpu(), {}}); return;
  }
}

}  // namespace
}  // namespace nvmm::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  nvmm::fuzz::Input in(data, size);
  nvmm::fuzz::Session session(in);
  session.prepare();
  for (unsigned steps = 0; steps < 200 && !in.empty(); steps++) nvmm::fuzz::step(session, in);
  return 0;
}
