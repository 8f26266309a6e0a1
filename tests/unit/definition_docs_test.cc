// docs/definitions.md: its examples can be run, and it names all that may be written.

#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "gtest/gtest.h"

#include "proto/segments/v1/definition.pb.h"
#include "segment/definition_check.h"
#include "segment/definition_text.h"
#include "segment/rule_set.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;
using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using testing::IsEmpty;

std::string Page() {
  std::ifstream file("docs/definitions.md");
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::string> Examples(const std::string& page) {
  constexpr std::string_view kOpen = "\n```yaml\n";
  constexpr std::string_view kClose = "\n```\n";
  std::vector<std::string> examples;
  size_t at = 0;
  while ((at = page.find(kOpen, at)) != std::string::npos) {
    at += kOpen.size();
    const size_t end = page.find(kClose, at);
    examples.push_back(page.substr(at, end - at));
  }
  return examples;
}

TEST(DefinitionDocs, EachExampleCanBeRun) {
  const std::vector<std::string> examples = Examples(Page());
  EXPECT_GE(examples.size(), 10u);
  for (const std::string& example : examples) {
    const auto documents = ReadSegmentDocuments(example);
    ASSERT_TRUE(documents.ok()) << documents.status() << "\n" << example;
    for (const SegmentDocument& document : *documents) {
      std::vector<std::string> wrong;
      for (const auto& violations : {document.violations, CheckSegment(document.segment)}) {
        for (const Violation& v : violations) {
          wrong.push_back(absl::StrCat(v.path, ": ", v.message));
        }
      }
      EXPECT_THAT(wrong, IsEmpty()) << example;
      const auto rules = RuleSet::Compile({{.segment = document.segment}});
      EXPECT_TRUE(rules.ok()) << rules.status() << "\n" << example;
    }
  }
}

// Those that may be written.
void AddFields(const Descriptor* message, std::set<const FieldDescriptor*>* fields) {
  for (int i = 0; i < message->field_count(); ++i) {
    const FieldDescriptor* field = message->field(i);
    if (IsOutputOnly(field) || !fields->insert(field).second) continue;
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE &&
        field->message_type()->file() == pb::Segment::descriptor()->file()) {
      AddFields(field->message_type(), fields);
    }
  }
}

// From the heading to the next one; `page` without one of its own.
std::string SectionOn(const Descriptor* message, const std::string& page) {
  static const std::map<const Descriptor*, std::string> kHeadings = {
      {pb::Segment::descriptor(), "## A segment\n"},
      {pb::PropertyCondition::descriptor(), "## Operators\n"},
      {pb::Live::descriptor(), "## Live segments\n"},
      {pb::Actions::descriptor(), "### actions\n"},
      {pb::Inaction::descriptor(), "### inaction\n"},
      {pb::Sequence::descriptor(), "### sequence\n"},
      {pb::SequenceStep::descriptor(), "### sequence\n"},
      {pb::DateTime::descriptor(), "### date_time\n"},
      {pb::PageVisit::descriptor(), "### page_visit"},
      {pb::Referrer::descriptor(), "### page_visit"},
      {pb::PageCount::descriptor(), "### page_visit"},
      {pb::Exit::descriptor(), "### exit\n"},
      {pb::Expression::descriptor(), "## Past behaviour\n"},
      {pb::Did::descriptor(), "### did\n"},
      {pb::TimeRange::descriptor(), "### did\n"},
      {pb::NumberCondition::descriptor(), "### did\n"},
      {pb::Aggregate::descriptor(), "### did\n"}};
  const auto heading = kHeadings.find(message);
  if (heading == kHeadings.end()) return page;
  const size_t at = page.find("\n" + heading->second);
  if (at == std::string::npos) return "";
  return page.substr(at, page.find("\n##", at + 1) - at);
}

TEST(DefinitionDocs, EveryFieldIsNamed) {
  const std::string page = Page();
  std::set<const FieldDescriptor*> fields;
  AddFields(pb::Segment::descriptor(), &fields);
  EXPECT_GE(fields.size(), 100u);
  for (const FieldDescriptor* field : fields) {
    const std::string section = SectionOn(field->containing_type(), page);
    const bool named = section.find(absl::StrCat("`", field->name(), "`")) != std::string::npos ||
                       section.find(absl::StrCat("`", field->name(), ":")) != std::string::npos ||
                       section.find(absl::StrCat(" ", field->name(), ": ")) != std::string::npos;
    EXPECT_TRUE(named) << field->full_name();
  }
}

}  // namespace
}  // namespace segmentd
