// A thread that runs one VCPU for asynchronous callers: libuv's pool has four threads, a machine up to 256 VCPUs.
#pragma once

#include <node_api.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "objects.h"

namespace nvmm {

class Runner {
 public:
  // `completed` is called in this environment after each run, with 0 or the errno.
  Runner(napi_env env, std::shared_ptr<Vcpu> vcpu, napi_value completed);
  // Stops a run in progress and joins the thread.
  ~Runner();

  // Begins a run: EBUSY as Vcpu::run. The environment stays alive until it has completed.
  int start();

 private:
  void loop();
  void shutDown();
  static void deliver(napi_env env, napi_value completed, void* runner, void* error);
  static void atExit(void* runner) { static_cast<Runner*>(runner)->shutDown(); }

  const napi_env env_;
  const std::shared_ptr<Vcpu> vcpu_;
  napi_threadsafe_function deliver_;
  std::mutex lock_;
  std::condition_variable wake_;
  bool active_ = false;  // from start() to deliver(), both in the environment's own thread
  bool requested_ = false;
  bool quit_ = false;
  std::thread thread_;
};

}  // namespace nvmm
