#include "kicker.h"
#include "objects.h"

namespace nvmm {

int File::open(std::shared_ptr<Device> device, const std::string& path, Access access, std::shared_ptr<File>* file) {
  int fd;
  const int error = device->open(path.c_str(), access, &fd);
  if (error == 0) file->reset(new File(std::move(device), fd));
  return error;
}

int File::ioctl(uint32_t request, void* argument) {
  std::shared_lock<std::shared_mutex> guard(lock_);
  return open_ ? device_->ioctl(fd_, request, argument) : netbsd::kBADF;
}

int File::capability(abi::nvmm_capability* capability) {
  abi::nvmm_ioc_capability argument = {};
  const int error = ioctl(abi::NVMM_IOC_CAPABILITY, &argument);
  if (error == netbsd::kOK) *capability = argument.cap;
  return error;
}

int File::mapComm(uint64_t offset, void** page) {
  std::shared_lock<std::shared_mutex> guard(lock_);
  return open_ ? device_->mapComm(fd_, offset, page) : netbsd::kBADF;
}

int File::machineInfo(abi::nvmm_ctl_mach_info* info) {
  std::shared_ptr<Machine> own;
  {
    std::lock_guard<std::mutex> guard(machinesLock_);
    for (const auto& weak : machines_) {
      const auto machine = weak.lock();
      if (machine && machine->id() == info->machid && !machine->destroyed()) own = machine;
    }
  }
  abi::nvmm_ioc_ctl argument = {abi::NVMM_CTL_MACH_INFO, info, sizeof *info};
  if (own) return own->exclusively([&] { return own->ioctl(abi::NVMM_IOC_CTL, &argument); });
  const Kicker::Yield yield;
  return ioctl(abi::NVMM_IOC_CTL, &argument);
}

int File::close() {
  std::vector<std::weak_ptr<Machine>> machines;
  {
    std::lock_guard<std::mutex> guard(machinesLock_);
    closing_ = true;
    machines.swap(machines_);
  }
  for (const auto& weak : machines) {
    if (const auto machine = weak.lock()) machine->destroy();
  }
  const Kicker::Yield yield;
  std::unique_lock<std::shared_mutex> guard(lock_);
  if (!open_) return netbsd::kOK;
  open_ = false;
  return device_->close(fd_);
}

}  // namespace nvmm
