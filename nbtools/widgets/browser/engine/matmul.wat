;; out = x weights^T + bias in fp32, with SIMD: out [rows, outer], x [rows, inner], weights [outer, inner], bias [outer].
;; Addresses are in bytes; inner and outer are multiples of 4. bias 0 is none. Four outputs at a time share the loads of x, and their
;; weights stay in the fastest cache for all rows. matmul.js holds this module assembled (npm's wabt: wat2wasm).
(module
  (import "env" "memory" (memory 1))
  (func (export "matmul")
    (param $out i32) (param $x i32) (param $weights i32) (param $bias i32) (param $rows i32) (param $inner i32) (param $outer i32)
    (local $width i32) (local $column i32) (local $row i32) (local $at i32) (local $end i32)
    (local $w0 i32) (local $w1 i32) (local $w2 i32) (local $w3 i32)
    (local $a0 v128) (local $a1 v128) (local $a2 v128) (local $a3 v128) (local $value v128)
    (local.set $width (i32.mul (local.get $inner) (i32.const 4)))
    (block $done
      (loop $columns
        (br_if $done (i32.ge_u (local.get $column) (local.get $outer)))
        (local.set $row (i32.const 0))
        (block $full
          (loop $tokens
            (br_if $full (i32.ge_u (local.get $row) (local.get $rows)))
            (local.set $w0 (i32.add (local.get $weights) (i32.mul (local.get $column) (local.get $width))))
            (local.set $w1 (i32.add (local.get $w0) (local.get $width)))
            (local.set $w2 (i32.add (local.get $w1) (local.get $width)))
            (local.set $w3 (i32.add (local.get $w2) (local.get $width)))
            (local.set $a0 (v128.const f32x4 0 0 0 0))
            (local.set $a1 (v128.const f32x4 0 0 0 0))
            (local.set $a2 (v128.const f32x4 0 0 0 0))
            (local.set $a3 (v128.const f32x4 0 0 0 0))
            (local.set $at (i32.add (local.get $x) (i32.mul (local.get $row) (local.get $width))))
            (local.set $end (i32.add (local.get $at) (local.get $width)))
            (loop $products
              (local.set $value (v128.load (local.get $at)))
              (local.set $a0 (f32x4.add (local.get $a0) (f32x4.mul (local.get $value) (v128.load (local.get $w0)))))
              (local.set $a1 (f32x4.add (local.get $a1) (f32x4.mul (local.get $value) (v128.load (local.get $w1)))))
              (local.set $a2 (f32x4.add (local.get $a2) (f32x4.mul (local.get $value) (v128.load (local.get $w2)))))
              (local.set $a3 (f32x4.add (local.get $a3) (f32x4.mul (local.get $value) (v128.load (local.get $w3)))))
              (local.set $w0 (i32.add (local.get $w0) (i32.const 16)))
              (local.set $w1 (i32.add (local.get $w1) (i32.const 16)))
              (local.set $w2 (i32.add (local.get $w2) (i32.const 16)))
              (local.set $w3 (i32.add (local.get $w3) (i32.const 16)))
              (local.set $at (i32.add (local.get $at) (i32.const 16)))
              (br_if $products (i32.lt_u (local.get $at) (local.get $end))))
            ;; The four sums of four lanes each become one vector: a transposition, added up.
            (local.set $value
              (i8x16.shuffle 0 1 2 3 16 17 18 19 8 9 10 11 24 25 26 27
                (local.tee $a0 (f32x4.add (local.get $a0) (i8x16.shuffle 4 5 6 7 0 1 2 3 12 13 14 15 8 9 10 11 (local.get $a0) (local.get $a0))))
                (local.tee $a1 (f32x4.add (local.get $a1) (i8x16.shuffle 4 5 6 7 0 1 2 3 12 13 14 15 8 9 10 11 (local.get $a1) (local.get $a1))))))
            ;; value = [a0 low, a1 low, a0 high, a1 high]; the same of a2 and a3.
            (local.set $a2
              (i8x16.shuffle 0 1 2 3 16 17 18 19 8 9 10 11 24 25 26 27
                (local.tee $a2 (f32x4.add (local.get $a2) (i8x16.shuffle 4 5 6 7 0 1 2 3 12 13 14 15 8 9 10 11 (local.get $a2) (local.get $a2))))
                (local.tee $a3 (f32x4.add (local.get $a3) (i8x16.shuffle 4 5 6 7 0 1 2 3 12 13 14 15 8 9 10 11 (local.get $a3) (local.get $a3))))))
            (local.set $value
              (f32x4.add
                (i8x16.shuffle 0 1 2 3 4 5 6 7 16 17 18 19 20 21 22 23 (local.get $value) (local.get $a2))
                (i8x16.shuffle 8 9 10 11 12 13 14 15 24 25 26 27 28 29 30 31 (local.get $value) (local.get $a2))))
            (if (local.get $bias)
              (then (local.set $value (f32x4.add (local.get $value)
                (v128.load (i32.add (local.get $bias) (i32.mul (local.get $column) (i32.const 4))))))))
            (v128.store
              (i32.add (local.get $out)
                (i32.mul (i32.add (i32.mul (local.get $row) (local.get $outer)) (local.get $column)) (i32.const 4)))
              (local.get $value))
            (local.set $row (i32.add (local.get $row) (i32.const 1)))
            (br $tokens)))
        (local.set $column (i32.add (local.get $column) (i32.const 4)))
        (br $columns)))))
