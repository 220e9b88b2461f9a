// What the files of the Python face share.
#pragma once
#include <vector>

#include "arrays.h"
#include "variants.h"

namespace vecstore {

void add_books(nb::module_& m);     // module_books.cpp
void add_cascade(nb::module_& m);   // module_cascade.cpp
void add_encoding(nb::module_& m);  // module_encoding.cpp
void add_ids(nb::module_& m);       // module_ids.cpp
void add_maxsim(nb::module_& m);    // module_maxsim.cpp
void add_postings(nb::module_& m);  // module_postings.cpp
void add_sets(nb::module_& m);      // module_sets.cpp

// Queries for rows of 1 or 2 bits, as PackedJob takes them.
struct PackedQueries {
    Lined<u8> tables;             // [Q][2 * bytes][16]
    std::vector<double> factors;  // [Q][4]
    i64 bytes;
};

PackedQueries packed_tables(const In<float, 2>& queries, const In<float, 2>& signs, i64 bits,
                            const Variant& variant);

}  // namespace vecstore
