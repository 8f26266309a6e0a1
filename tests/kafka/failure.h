// What a test can't go on after.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace segmentd {

// Thrown: GoogleTest reports it as the failure of the test that runs, and what the test holds is
// taken down in order. std::exit would destroy the logger under the threads of Kafka clients.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

[[noreturn]] inline void Fail(const std::string& what) {
  throw Failure(what);
}

template <typename T>
T Must(absl::StatusOr<T> result) {
  if (!result.ok()) Fail(result.status().ToString());
  return *std::move(result);
}

}  // namespace segmentd
