// SegmentService: reads and writes the stored segments. It decides nothing about memberships.
#pragma once

#include <functional>
#include <memory>

#include "absl/time/time.h"

#include "api/access.h"
#include "state/definition_log.h"
#include "state/estimates.h"

namespace grpc {
class Service;
}

namespace segmentd {

inline constexpr int kMaxDeletedAtOnce = 500;
inline constexpr int kDefaultPageSize = 50;
inline constexpr int kMaxPageSize = 500;
// At once; each reads the whole input.
inline constexpr int kMaxEstimates = 2;

// Any thread may call the handlers; writes take turns, so that nobody writes between another's
// reading and writing.
class SegmentService {
 public:
  // `clock` is the wall clock. `definitions`, `access` and `estimates` outlive the service; without
  // `estimates`, EstimateSegment is UNAVAILABLE.
  SegmentService(DefinitionLog& definitions, std::function<absl::Time()> clock,
                 const Access& access, Estimates* estimates = nullptr);
  ~SegmentService();

  // Ends the estimates, and refuses further ones, with UNAVAILABLE.
  void EndStreams();

  // For the server, which the service outlives.
  grpc::Service& handlers();

 private:
  class Handlers;
  std::unique_ptr<Handlers> handlers_;
};

}  // namespace segmentd
