// segctl segment watch: a segment's status, looked at again and again until it is active.

#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

#include "app/console.h"
#include "app/progress.h"
#include "app/segctl_segment.h"
#include "app/segment_calls.h"
#include "app/segment_text.h"
#include "proto/segments/v1/segment_service.grpc.pb.h"
#include "segment/definition_text.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;

// Between two looks.
constexpr std::chrono::milliseconds kLook(500);

}  // namespace

// Until it is ACTIVE, or will not be by itself.
ExitStatus WatchSegment(const GlobalOptions& global, const SegmentOptions& options) {
  return WithServer(global, [&](SegmentCalls& calls) {
    const bool bar = !global.json && IsTerminal(stderr) && IsTerminal(stdout);
    Progress progress;
    std::string shown;
    for (;;) {
      pb::Segment segment;
      const grpc::Status status = calls.get(options.id, &segment);
      if (!status.ok()) return calls.complain(status);
      const bool building = segment.status() == pb::SEGMENT_STATUS_BUILDING;
      // Where a bar shows the progress, lines need not.
      std::string now =
          absl::StrCat(segment.version(), " ", bar ? StatusWord(segment) : StatusText(segment),
                       building ? "" : segment.status_detail());
      if (now != shown) {
        progress.hide();
        shown = std::move(now);
        if (global.json) {
          Print(SegmentToJson(segment) + "\n");
        } else {
          Print(absl::StrCat(
              Paint(segment.id(), Color::kBold, stdout), "  version ", segment.version(), ", ",
              Paint(bar ? StatusWord(segment) : StatusText(segment), StatusColor(segment), stdout),
              segment.status_detail().empty() ? "" : ": ", segment.status_detail(), "\n"));
        }
        fflush(stdout);
      }
      if (building) progress.show(segment.build_progress());
      switch (segment.status()) {
        case pb::SEGMENT_STATUS_ACTIVE:
          return kDone;
        case pb::SEGMENT_STATUS_INVALID:
        case pb::SEGMENT_STATUS_DELETING:
        case pb::SEGMENT_STATUS_PAUSED:
          return kNo;
        default:
          break;
      }
      std::this_thread::sleep_for(kLook);
    }
  });
}

}  // namespace segmentd
